#!/bin/sh
# Writes the present digest of each base image into files that name it, NAME:TAG@sha256:…, and prints it. Needs the
# registries, and skopeo or Docker with buildx. Usage: pin_images.sh FILE...
set -eu

# In a Dockerfile `ARG …_IMAGE=NAME:TAG`, in a compose file `image: NAME:TAG`. Our own images have no slash.
named='(_IMAGE=|image: )([^ @]+/[^ @]+:[^ @]+)(@sha256:[0-9a-f]{64})?$'

digest_of() {
    if command -v skopeo >/dev/null 2>&1; then
        skopeo inspect --no-tags --format '{{.Digest}}' "docker://$1"
    else
        docker buildx imagetools inspect --format '{{.Manifest.Digest}}' "$1"
    fi
}

for image in $(sed -nE "s#.*$named#\2#p" "$@" | sort -u); do
    digest=$(digest_of "$image")
    case $digest in
    sha256:*) ;;
    *)
        echo "error: The registry returned no digest of $image: $digest" >&2
        exit 1
        ;;
    esac
    pattern=$(printf %s "$image" | sed 's/[.]/\\./g')
    sed -i -E "s#(_IMAGE=|image: )$pattern(@sha256:[0-9a-f]{64})?\$#\1$image@$digest#" "$@"
    echo "$image@$digest"
done
