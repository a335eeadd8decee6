/* The Python module of the kernels. Arguments are addresses and sizes; results are written in place.
 *
 * Compiled for any x86-64 processor, so that it can report what this one has. If `instructions` returns no
 * name, no other function may be called. The callers (linear.py, layers.py, sampling.py) check shapes and
 * types, and keep the memory alive.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "kernels.h"

/* The kernels in use; NULL if this processor runs none. */
static const Kernels *kernels;

static int has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bf16");
}

static int has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static PyObject *instructions(PyObject *self, PyObject *none)
{
    (void)self;
    (void)none;
    if (!has_avx2())
        return Py_BuildValue("()");
    return has_avx512() ? Py_BuildValue("(ss)", "avx512", "avx2") : Py_BuildValue("(s)", "avx2");
}

static PyObject *use(PyObject *self, PyObject *name)
{
    (void)self;
    if (!PyUnicode_Check(name))
        return PyErr_Format(PyExc_TypeError, "the name of instructions is a string, not %R", Py_TYPE(name));
    if (!PyUnicode_CompareWithASCIIString(name, "avx512") && has_avx512())
        kernels = &rudolph_avx512;
    else if (!PyUnicode_CompareWithASCIIString(name, "avx2") && has_avx2())
        kernels = &rudolph_avx2;
    else
        return PyErr_Format(PyExc_ValueError, "this processor has no instructions %R", name);
    Py_RETURN_NONE;
}

static PyObject *has_bf16_dot(PyObject *self, PyObject *none)
{
    (void)self;
    (void)none;
    return PyBool_FromLong(kernels->pack12 != NULL);
}

/* Intel's processors start an instruction for bfloat16 every second cycle, and in that time four for float32
 * with half of its work each. */
static PyObject *has_fast_bf16_dot(PyObject *self, PyObject *none)
{
    (void)self;
    (void)none;
    return PyBool_FromLong(kernels == &rudolph_avx512 && !__builtin_cpu_is("intel"));
}

static PyObject *pack12(PyObject *self, PyObject *arguments)
{
    unsigned long long panels, out;
    Py_ssize_t count, inputs;
    int threads;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "KnnKi", &panels, &count, &inputs, &out, &threads))
        return NULL;
    if (!kernels->pack12)
        return PyErr_Format(PyExc_NotImplementedError, "the instructions in use read no weights of 12 bits");
    Py_BEGIN_ALLOW_THREADS kernels->pack12((const void *)(uintptr_t)panels, (size_t)count, (size_t)inputs,
                                           (void *)(uintptr_t)out, threads);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

static PyObject *linear_bytes(PyObject *self, PyObject *arguments)
{
    Py_ssize_t rows, inputs;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "nn", &rows, &inputs))
        return NULL;
    return PyLong_FromSize_t(kernels->linear_bytes((size_t)rows, (size_t)inputs));
}

static PyObject *linear(PyObject *self, PyObject *arguments)
{
    unsigned long long x, weight, bias, scales, starts, out, scratch, row_scales;
    long long arithmetic;
    Py_ssize_t rows, inputs, outputs;
    int gelu, threads;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "Knn(KKKKL)npKKKi", &x, &rows, &inputs, &weight, &bias, &scales, &starts,
                          &arithmetic, &outputs, &gelu, &out, &scratch, &row_scales, &threads))
        return NULL;
    const LinearAddresses addresses = {(const void *)(uintptr_t)weight, (const void *)(uintptr_t)bias,
                                       (const void *)(uintptr_t)scales, (const void *)(uintptr_t)starts,
                                       arithmetic};
    Py_BEGIN_ALLOW_THREADS kernels->linear(
        (const void *)(uintptr_t)x, (size_t)rows, (size_t)inputs, &addresses, (size_t)outputs, gelu,
        (void *)(uintptr_t)out, (void *)(uintptr_t)scratch, (float *)(uintptr_t)row_scales, threads);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

/* The shape as six numbers in Python's order. */
#define SHAPE "(LLLLLL)"
#define SHAPE_FIELDS(s)                                                                                      \
    &(s).layers, &(s).hidden, &(s).heads, &(s).left_length, &(s).image_length, &(s).body_length

static PyObject *scratch_bytes(PyObject *self, PyObject *arguments)
{
    Shape shape;
    Py_ssize_t tokens;
    int threads;
    (void)self;
    if (!PyArg_ParseTuple(arguments, SHAPE "ni", SHAPE_FIELDS(shape), &tokens, &threads))
        return NULL;
    return PyLong_FromSize_t(kernels->scratch_bytes(&shape, (size_t)tokens, threads));
}

static PyObject *run(PyObject *self, PyObject *arguments)
{
    Shape shape;
    Tokens tokens;
    unsigned long long layers, positions, left_slots, slots, image_slots, hidden, scratch;
    int threads;
    int64_t wrong;
    (void)self;
    if (!PyArg_ParseTuple(arguments, SHAPE "K(LLLLL)KKKKKKi", SHAPE_FIELDS(shape), &layers, &tokens.count,
                          &tokens.start, &tokens.length, &tokens.num_left_slots, &tokens.num_slots,
                          &positions, &left_slots, &slots, &image_slots, &hidden, &scratch, &threads))
        return NULL;
    tokens.positions = (const int64_t *)(uintptr_t)positions;
    tokens.left_slots = (const int64_t *)(uintptr_t)left_slots;
    tokens.slots = (const int64_t *)(uintptr_t)slots;
    tokens.image_slots = (const int64_t *)(uintptr_t)image_slots;
    Py_BEGIN_ALLOW_THREADS wrong =
        kernels->run(&shape, (const LayerAddresses *)(uintptr_t)layers, &tokens, (float *)(uintptr_t)hidden,
                     (void *)(uintptr_t)scratch, threads);
    Py_END_ALLOW_THREADS if (wrong >= 0) return PyErr_Format(
        PyExc_IndexError, "token %lld: its position or one of its slots is not in the cache",
        (long long)wrong);
    Py_RETURN_NONE;
}

static PyObject *sample_bytes(PyObject *self, PyObject *arguments)
{
    Py_ssize_t vocab;
    int threads;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "ni", &vocab, &threads))
        return NULL;
    return PyLong_FromSize_t(kernels->sample_bytes((size_t)vocab, threads));
}

static PyObject *sample(PyObject *self, PyObject *arguments)
{
    unsigned long long logits, temperature, top_p, min_p, top_k, seeds, positions, drawn, scratch;
    Py_ssize_t rows, vocab;
    int threads;
    (void)self;
    if (!PyArg_ParseTuple(arguments, "Knn(KKKKKK)KKi", &logits, &rows, &vocab, &temperature, &top_p, &min_p,
                          &top_k, &seeds, &positions, &drawn, &scratch, &threads))
        return NULL;
    const SamplingAddresses settings = {
        (const float *)(uintptr_t)temperature, (const float *)(uintptr_t)top_p,
        (const float *)(uintptr_t)min_p,       (const int64_t *)(uintptr_t)top_k,
        (const int64_t *)(uintptr_t)seeds,     (const int64_t *)(uintptr_t)positions};
    Py_BEGIN_ALLOW_THREADS kernels->sample((const float *)(uintptr_t)logits, (size_t)rows, (size_t)vocab,
                                           &settings, (int64_t *)(uintptr_t)drawn, (void *)(uintptr_t)scratch,
                                           threads);
    Py_END_ALLOW_THREADS Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"instructions", instructions, METH_NOARGS,
     "Names of the instruction sets of this processor, the best first."},
    {"use", use, METH_O, "Use the instruction set of this name from now on."},
    {"has_bf16_dot", has_bf16_dot, METH_NOARGS,
     "Whether the instructions in use have a dot product of bfloat16."},
    {"has_fast_bf16_dot", has_fast_bf16_dot, METH_NOARGS, "Whether that dot product is faster than float32."},
    {"pack12", pack12, METH_VARARGS, "Pack panels of bfloat16 into 12 bits; see linear.py."},
    {"linear_bytes", linear_bytes, METH_VARARGS, "Bytes of scratch that a product needs."},
    {"linear", linear, METH_VARARGS, "Multiply rows by one linear layer; see linear.py."},
    {"scratch_bytes", scratch_bytes, METH_VARARGS, "Bytes of scratch that run needs."},
    {"run", run, METH_VARARGS, "Run tokens through all layers; see layers.py."},
    {"sample_bytes", sample_bytes, METH_VARARGS, "Bytes of scratch that sample needs."},
    {"sample", sample, METH_VARARGS, "Draw one token a row; see sampling.py."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_kernels", NULL, -1, methods, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__kernels(void)
{
    __builtin_cpu_init();
    kernels = has_avx512() ? &rudolph_avx512 : has_avx2() ? &rudolph_avx2 : NULL;
    return PyModule_Create(&definition);
}
