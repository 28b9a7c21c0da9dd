#include "contexts.h" /* first: it asks for the internals of CPython */
#include "attributes.h"

#include <string.h>
#include <time.h>

static const Spec *specs; /* the newest first */
static PyObject *refusal;

int64_t
thread_cpu_ns(void)
{
    struct timespec time;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* ---- what is declared -------------------------------------------------------------------------------------------- */

static int
read_attribute(Attribute *attribute, PyObject *declared)
{
    PyObject *name, *choices;
    if (!PyTuple_Check(declared) || !PyArg_ParseTuple(declared, "UiOp", &name, &attribute->type, &choices, &attribute->may_be_none))
        return -1;
    if (choices != Py_None && !PyDict_CheckExact(choices)) {
        PyErr_SetString(PyExc_TypeError, "the choices of an attribute are a dictionary or None");
        return -1;
    }
    attribute->name = Py_NewRef(name);
    PyUnicode_InternInPlace(&attribute->name);
    attribute->choices = choices == Py_None ? NULL : Py_NewRef(choices);
    return 0;
}

Spec *
new_spec(uint32_t probe_id, PyObject *declared)
{
    if (!PyTuple_Check(declared)) {
        PyErr_SetString(PyExc_TypeError, "the attributes of a probe are a tuple");
        return NULL;
    }
    Py_ssize_t count = PyTuple_GET_SIZE(declared);
    Spec *spec = calloc(1, sizeof(Spec) + (size_t)count * sizeof(Attribute));
    if (spec == NULL)
        return (Spec *)PyErr_NoMemory();
    spec->probe_id = probe_id;
    spec->count = (uint32_t)count;
    for (Py_ssize_t i = 0; i < count; i++)
        if (read_attribute(&spec->attributes[i], PyTuple_GET_ITEM(declared, i)) < 0) {
            if (!PyErr_Occurred())
                PyErr_SetString(PyExc_TypeError, "an attribute is a tuple of four");
            for (Py_ssize_t done = 0; done <= i; done++) {
                Py_XDECREF(spec->attributes[done].name);
                Py_XDECREF(spec->attributes[done].choices);
            }
            free(spec);
            return NULL;
        }
    lock_rings();
    spec->next = specs;
    tell(specs, spec);
    unlock_rings();
    return spec;
}

static const Spec *
spec_of(uint32_t probe_id)
{
    const Spec *spec = seen(specs);
    while (spec != NULL && spec->probe_id != probe_id)
        spec = spec->next;
    return spec;
}

/* ---- what is given ----------------------------------------------------------------------------------------------- */

PyObject *
set_refusal(PyObject *module, PyObject *function)
{
    Py_XSETREF(refusal, Py_NewRef(function));
    Py_RETURN_NONE;
}

/* Raise what a caller is to know. */
static int
refuse(uint32_t probe_id, PyObject *name, PyObject *value)
{
    PyErr_Clear();
    PyObject *result = refusal == NULL ? NULL : PyObject_CallFunction(refusal, "IOO", probe_id, name, value);
    Py_XDECREF(result);
    if (!PyErr_Occurred())
        PyErr_Format(PyExc_TypeError, "attribute %R cannot be %R", name, value);
    return -1;
}

/* An integer of 64 bits, from what is one; -1 with or without an exception for anything else. */
static int
read_integer(PyObject *given, int64_t *number)
{
    if (PyBool_Check(given))
        return -1;
    PyObject *whole = PyLong_CheckExact(given) ? Py_NewRef(given) : PyNumber_Index(given);
    if (whole == NULL)
        return -1;
    int overflow;
    *number = PyLong_AsLongLongAndOverflow(whole, &overflow);
    Py_DECREF(whole);
    return overflow || *number == NO_VALUE ? -1 : 0;
}

static int
read_real(PyObject *given, int64_t *number)
{
    double real = PyBool_Check(given) ? -1.0 : PyFloat_AsDouble(given);
    if (PyBool_Check(given) || PyErr_Occurred())
        return -1;
    real += 0.0; /* the bits of -0.0 say that there is no value */
    memcpy(number, &real, sizeof(real));
    return 0;
}

static int
read_text(const Attribute *attribute, PyObject *given, PyObject **text)
{
    if (attribute->choices != NULL) {
        *text = Py_XNewRef(PyDict_GetItemWithError(attribute->choices, given)); /* choices stay in there */
        return *text == NULL ? -1 : 0;
    }
    if (PyUnicode_CheckExact(given)) {
        *text = Py_NewRef(given);
        return 0;
    }
    *text = PyUnicode_Check(given) ? PyUnicode_FromObject(given) : NULL;
    return *text == NULL ? -1 : 0;
}

/* The longest text that is kept whole, in characters. */
#define MOST_TEXT 256

static int
read_value(uint32_t probe_id, const Attribute *attribute, PyObject *given, Value *value)
{
    if (given == Py_None && attribute->may_be_none)
        return 0;
    int result = -1;
    switch (attribute->type) {
    case TEXT:
        result = read_text(attribute, given, &value->text);
        if (result == 0 && PyUnicode_GET_LENGTH(value->text) > MOST_TEXT) {
            Py_SETREF(value->text, PyUnicode_Substring(value->text, 0, MOST_TEXT));
            if (value->text == NULL)
                return -1;
        }
        break;
    case INTEGER:
        result = read_integer(given, &value->number);
        break;
    case REAL:
        result = read_real(given, &value->number);
        break;
    case FLAG:
        result = PyBool_Check(given) ? 0 : -1;
        value->number = given == Py_True;
        break;
    }
    return result == 0 ? 0 : refuse(probe_id, attribute->name, given);
}

/* The place of an attribute, which mostly is at `first` or behind; -1: there is none of that name. */
static inline Py_ssize_t
find_attribute(const Spec *spec, PyObject *name, Py_ssize_t first)
{
    Py_ssize_t count = spec == NULL ? 0 : spec->count;
    for (Py_ssize_t i = 0, place = first; i < count; i++, place++) {
        place = place < count ? place : 0;
        if (spec->attributes[place].name == name) /* names in programs are interned, as these are */
            return place;
    }
    for (Py_ssize_t i = 0; i < count; i++)
        if (PyUnicode_Compare(spec->attributes[i].name, name) == 0)
            return i;
    return -1;
}

static inline void
clear_values(const Spec *spec, Value *values)
{
    for (uint32_t i = 0; spec != NULL && i < spec->count; i++)
        if (spec->attributes[i].type == TEXT)
            values[i].text = NULL;
        else
            values[i].number = NO_VALUE;
}

void
free_values(const Spec *spec, Value *values)
{
    for (uint32_t i = 0; spec != NULL && i < spec->count; i++)
        if (spec->attributes[i].type == TEXT)
            Py_CLEAR(values[i].text);
}

/* As `read_values`; `error` is where the keyword argument of that name goes, borrowed, which is no attribute then. */
static int
read_arguments(uint32_t probe_id, const Spec *spec, PyObject *const *given, PyObject *kwnames, Value *values, PyObject **error)
{
    clear_values(spec, values);
    Py_ssize_t count = kwnames == NULL ? 0 : PyTuple_GET_SIZE(kwnames);
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *name = PyTuple_GET_ITEM(kwnames, i);
        Py_ssize_t place = find_attribute(spec, name, i);
        if (place < 0 && error != NULL && PyUnicode_CompareWithASCIIString(name, "error") == 0)
            *error = given[i];
        else if ((place < 0 ? refuse(probe_id, name, given[i])
                            : read_value(probe_id, &spec->attributes[place], given[i], &values[place])) < 0) {
            free_values(spec, values);
            return -1;
        }
    }
    return 0;
}

int
read_values(uint32_t probe_id, const Spec *spec, PyObject *const *given, PyObject *kwnames, Value *values)
{
    return read_arguments(probe_id, spec, given, kwnames, values, NULL);
}

/* ---- what a block has -------------------------------------------------------------------------------------------- */

/* A value as rows have it. A text is numbered, which may take a segment for it, but runs no Python. */
static inline int64_t
stored_value(const Attribute *attribute, const Value *value)
{
    if (attribute->type != TEXT)
        return value->number;
    return value->text == NULL ? NO_VALUE : number_of_text((Kind *)&attribute->texts, value->text);
}

Details *
new_details(const Spec *spec, const Value *values)
{
    uint32_t count = spec == NULL ? 0 : spec->count;
    Details *details = malloc(sizeof(Details) + count * sizeof(int64_t));
    if (details == NULL)
        return NULL;
    details->spec = spec;
    details->cpu = NO_VALUE;
    details->context_version = 0;
    details->count = count;
    for (uint32_t i = 0; i < count; i++)
        details->values[i] = values == NULL ? NO_VALUE : stored_value(&spec->attributes[i], &values[i]);
    return details;
}

/* ---- annotating -------------------------------------------------------------------------------------------------- */

/* An open block that is described. */
typedef struct {
    Stack *stack;
    int64_t span;
    uint32_t probe_id;
    const Spec *spec;
} Described;

static Described
described(Stack *stack, const Open *open)
{
    return (Described){stack, open->span, open->probe_id, open->details == NULL ? NULL : open->details->spec};
}

/* Find the innermost block of the current context that is open and at work. -1: there is none. */
static int
find_innermost(Described *block)
{
    Thread *thread = current_thread();
    PyThreadState *tstate = PyThreadState_Get();
    Stack *stack = thread == NULL ? NULL : current_stack(thread, tstate, 0);
    if (stack == NULL || know_task(thread, tstate, stack) < 0) {
        PyErr_Clear();
        return -1;
    }
    take_latch(&stack->latch);
    Py_ssize_t place = at_work(stack);
    if (place >= 0)
        *block = described(stack, &stack->open[place]);
    release_latch(&stack->latch);
    return place < 0 ? -1 : 0;
}

/* The same for the block that `holder` holds open in `stack`. */
static int
find_held(Described *block, const PyObject *holder, Stack *stack)
{
    take_latch(&stack->latch);
    Py_ssize_t place = stack->depth - 1;
    while (place >= 0 && stack->open[place].generator != holder)
        place--;
    if (place >= 0)
        *block = described(stack, &stack->open[place]);
    release_latch(&stack->latch);
    return place < 0 ? -1 : 0;
}

/* The number of the error that a program declares; -1 with an exception. */
static int64_t
read_failure(PyObject *error)
{
    if (error == Py_None)
        return 0;
    if (PyExceptionInstance_Check(error))
        return error_number((PyObject *)Py_TYPE(error));
    if (PyExceptionClass_Check(error))
        return error_number(error);
    if (!PyUnicode_Check(error) || PyUnicode_GET_LENGTH(error) == 0) {
        PyErr_Format(PyExc_TypeError, "annotate(): error must be a text that says what failed, an exception, or None, not %R", error);
        return -1;
    }
    PyObject *text = PyUnicode_Substring(error, 0, MOST_TEXT), *exact = text == NULL ? NULL : PyUnicode_FromObject(text);
    int64_t number = exact == NULL ? -1 : (int64_t)number_of_failure(exact);
    Py_XDECREF(text);
    Py_XDECREF(exact);
    return number;
}

/* Give the block what was read, if it is still open. */
static void
note(const Described *block, const int64_t *values, int64_t failure)
{
    Stack *stack = block->stack;
    take_latch(&stack->latch);
    Py_ssize_t place = stack->depth - 1;
    while (place >= 0 && (stack->open[place].span != block->span || stack->open[place].probe_id != block->probe_id))
        place--;
    Open *open = place < 0 || stack->open[place].weight == 0 ? NULL : &stack->open[place];
    if (open != NULL && failure >= 0)
        open->failure = (uint32_t)failure;
    if (open != NULL && open->details != NULL && open->details->spec == block->spec)
        for (uint32_t i = 0; i < open->details->count; i++)
            if (values[i] != NO_VALUE)
                open->details->values[i] = values[i];
    release_latch(&stack->latch);
}

/* Give the block what the keyword arguments say. -1 with an exception. */
static int
describe(Described *block, PyObject *const *args, PyObject *kwnames)
{
    if (block->spec == NULL)
        block->spec = spec_of(block->probe_id); /* of one that is not recorded this time */
    uint64_t session = seen(ring.session);
    uint32_t length = block->spec == NULL ? 0 : block->spec->count;
    Py_INCREF(block->stack);
    Value values[MOST_ATTRIBUTES];
    int64_t stored[MOST_ATTRIBUTES];
    PyObject *error = NULL;
    int result = read_arguments(block->probe_id, block->spec, args, kwnames, values, &error);
    int64_t failure = -1;
    if (result == 0 && error != NULL && (failure = read_failure(error)) < 0)
        result = -1;
    if (result == 0 && seen(ring.recording) && seen(ring.session) == session) {
        for (uint32_t i = 0; i < length; i++)
            stored[i] = stored_value(&block->spec->attributes[i], &values[i]);
        if (seen(ring.session) == session)
            note(block, stored, failure);
    }
    free_values(block->spec, values);
    Py_DECREF(block->stack);
    return result;
}

static int
takes_keywords_only(Py_ssize_t count)
{
    if (count != 0)
        PyErr_Format(PyExc_TypeError, "annotate() takes keyword arguments only, as in annotate(status=200)");
    return count == 0;
}

PyObject *
annotate(PyObject *module, PyObject *const *args, Py_ssize_t count, PyObject *kwnames)
{
    Described block;
    if (!takes_keywords_only(count))
        return NULL;
    if (seen(ring.recording) && kwnames != NULL && find_innermost(&block) == 0 && describe(&block, args, kwnames) < 0)
        return NULL;
    Py_RETURN_NONE;
}

PyObject *
annotate_held(const PyObject *holder, Stack *stack, PyObject *const *args, Py_ssize_t count, PyObject *kwnames)
{
    Described block;
    if (!takes_keywords_only(count))
        return NULL;
    if (stack != NULL && seen(ring.recording) && stack->session == seen(ring.session) && kwnames != NULL &&
        find_held(&block, holder, stack) == 0 && describe(&block, args, kwnames) < 0)
        return NULL;
    Py_RETURN_NONE;
}
