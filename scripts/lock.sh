#!/bin/sh
# Writes requirements/*.txt from pyproject.toml and constraints.txt: every package with the hashes of its files, for
# all systems and Python versions. Usage: lock.sh UV
set -eu
uv=$1
cd "$(dirname "$0")/.."

constraints=constraints.txt

compile() { # compile NAME ARGUMENT...: writes requirements/NAME.txt
    name=$1
    shift
    {
        echo "# Written by \`make lock\` from pyproject.toml and constraints.txt. Installed with --require-hashes."
        "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --constraint "$constraints" \
            --no-annotate --no-header "$@"
    } >"requirements/$name.partial"
    mv "requirements/$name.partial" "requirements/$name.txt"
}

without() { # without NAME PATTERN: removes packages whose names begin so, with their hashes
    awk -v names="^($2)" '/^[a-zA-Z]/ { drop = $0 ~ names } !drop' "requirements/$1.txt" >"requirements/$1.partial"
    mv "requirements/$1.partial" "requirements/$1.txt"
}

only() { # only NAME PATTERN
    awk -v names="^($2)" '/^[a-zA-Z]/ { keep = $0 ~ names } /^#/ || keep' "requirements/$1.txt" >"requirements/$1.partial"
    mv "requirements/$1.partial" "requirements/$1.txt"
}

# torch has builds for CUDA, ROCm and CPUs on indexes of their own, with other hashes than those of the default index.
# nvidia-ml-py is no part of them.
nvidia='nvidia-([^m]|m[^l])'
torch="torch==|triton==|$nvidia|cuda-"
compile api --extra tracing --extra mcp pyproject.toml
compile run --extra worker --extra embedded pyproject.toml
compile worker --extra worker --extra tracing pyproject.toml
compile dev --extra worker --extra embedded --extra dev pyproject.toml
without run "$torch"
without dev "torch==|$nvidia|cuda-"
cp requirements/worker.txt requirements/torch.txt
only torch "$torch"
without worker "$torch"
for extra in train fuzz; do
    compile "$extra" --extra "$extra" pyproject.toml
    only "$extra" "$(python3 -c "
import re, tomllib
names = tomllib.load(open('pyproject.toml', 'rb'))['project']['optional-dependencies']['$extra']
print('|'.join(re.match('[A-Za-z0-9_.-]+', name)[0] + '==' for name in names))")"
done
printf 'cyclonedx-bom\npip-audit\npip-licenses\nuv\n' | compile supply -
# The tokenizer has no wheels: these build it, and the kernels in C.
printf 'setuptools\nwheel\nCython\n' | compile build -
# Clients of the server, in their newest versions. Those of the second list need the second version of `openai`.
constraints=/dev/null
printf '%s\n' openai huggingface_hub cohere mcp 'pydantic-ai-slim[openai]' openai-agents langchain-openai pillow |
    compile clients -
printf '%s\n' 'litellm>=1.110' 'llama-index-llms-openai-like>=0.8' 'instructor>=1.17' pillow | compile clients-openai2 -
# Its pinned dependencies agree with neither list.
printf '%s\n' 'litellm[proxy]>=1.108' openai | compile clients-litellm-proxy -
