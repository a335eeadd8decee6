"""Images of the examples in the OpenAPI document. The bundled checkpoint knows what they show."""

EXAMPLE_IMAGE = (
    "data:image/webp;base64,UklGRpYBAABXRUJQVlA4IIoBAABQCwCdASpAAEAAPyF0tlGtJqUirhbeMaAkCWwA0MO+CwWvdtabv"
    "BbWt2Wg7y9av1S9zt+vGjTtkJiZPylAupl0/xLjwqhUtFokkWCBcuC4cTfHDzBPdLTTRIlB3hvZFXVQgAAA/vTI2wlYlz3/euejE"
    "2T2nNVk6wyHMMnuEjOweaQ4mhF/Tu/ZMmPQIwYhMnHt1Fp+Xytg3RmG970yQSdZhiCg4lKhl8Gt5nQ+auIAZZjJ6lFw1xv9zE4WR"
    "CQ6PwBJERcqZaCEmQjGml5qoW6fmQ77bQg51erAWNNWbeYTrPfjIZJBf0NALqQHSQkEvq72Ackk++duuMJQUDpDVhO1tAYxRRcXL"
    "4TbpqXuSz2uSgG2opJKlbmOYtHUIf1tNw2iKxgrkmjv88/sL4NKHuCJeSqwbYI+WfJlr+N5SxCZkaPin50YmewK4bDNqw+qgDkG0"
    "+GtPeanjr/IPQdWESC0Bpj85UdJ/HfAJaLqz5+J1ly7RjdViyi7ryf+mlxpKK7nbL1xGnxEkAAA"
)
"""A strawberry on white, 64 × 64 px: «клубника»."""
OTHER_IMAGE = (
    "data:image/webp;base64,UklGRiwBAABXRUJQVlA4ICABAACwCQCdASpAAEAAPyWEuVauKCUjqBgLUcAkiWYAw+CFxhDOqd5Yt"
    "aDxY9sNf1ziqIJUyPrQqD6+T1G5LJVpSkmM4V7kvFEYqPC0LfEkg2dCKlRYk1ysAAD+0MrYR4xO/r7nfgEHhBK/SZY+pz5JjGR2t"
    "tQIDc0serMITFAfbV2tl1hfzBiq7B8mAtW42vOiL9D4u3a3yjqEZQoiVbV6mtJrukSem6xWnpHhXBt618pX5e7qPUflYeF5ZQq73"
    "cklzpF5dCMAh6ohuC1ni4+sVmXxKQ6+1z8Y9zpuBxljrMWNWZ0QCapP9UTS6M2aoHH/swEh4gjdGJJMoupyz052Kk5JJMjDQmybT"
    "dS/KR8h53FoKLaiQTxCznhmpLbGC3AAAAA="
)
"""An owl on green, 64 × 64 px: «сова на зеленом фоне»."""
EXAMPLE_MASK = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAEAAAABACAQAAAAAYLlVAAAAMElEQVR42u3OMQEAAAgDoGn/zhpjDy"
    "RgcqnaREBAQEBAQEBAQEBAQEBAAAAAAKDrATwcAT/zEvCYAAAAAElFTkSuQmCC"
)
"""A mask of their size: the lower half is transparent."""
