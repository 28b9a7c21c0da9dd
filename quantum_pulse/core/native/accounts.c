#include "slots.h"

#include <string.h>

/* Entries that are kept apart by thread; beyond them those of ended threads are added up as thread 0. Ten thousand
 * threads a minute must not take memory for ever. */
#define KEPT_APART 4096

typedef struct {
    uint32_t probe_id;
    int64_t thread;
    int64_t started, committed, lost;
    Slot *lost_slot; /* of what was overwritten */
} Total;

typedef struct {
    uint32_t probe_id;
    int cause;
    int64_t thread;
    uint64_t samples;
    int64_t first_ns, last_ns;
} Loss;

/* It does not change, and is there until the recording ends, so that whoever records may look at it. */
typedef struct Watch {
    uint32_t probe_id;
    int64_t limit;
    int on_error;
    const struct Watch *next;
} Watch;

/* Of threads that have ended, and of samples that were overwritten. */
static Total *totals;
static size_t totals_length, totals_capacity;
static Loss *losses;
static size_t losses_length, losses_capacity;

static const Watch *watches;

static void *
grown(void *array, size_t length, size_t *capacity, size_t size)
{
    if (length < *capacity)
        return array;
    size_t larger = *capacity == 0 ? 64 : *capacity * 2;
    void *result = realloc(array, larger * size);
    if (result != NULL)
        *capacity = larger;
    return result;
}

/* ---- counting ---------------------------------------------------------------------------------------------------- */

static int
is_watched(uint32_t probe_id)
{
    for (const Watch *watch = seen(watches); watch != NULL; watch = watch->next)
        if (watch->probe_id == probe_id)
            return 1;
    return 0;
}

Count *
grow_counts(Thread *thread, uint32_t probe_id)
{
    uint32_t length = (probe_id + 16) / 16 * 16;
    lock_rings(); /* others may be reading them */
    Count *counts = realloc(thread->counts, length * sizeof(Count));
    if (counts == NULL) {
        unlock_rings();
        return NULL;
    }
    memset(counts + thread->counts_length, 0, (length - thread->counts_length) * sizeof(Count));
    for (uint32_t id = thread->counts_length; id < length; id++)
        counts[id].is_watched = is_watched(id);
    thread->counts = counts;
    thread->counts_length = length;
    unlock_rings();
    return &counts[probe_id];
}

/* Add the entries of different threads up, and leave one a probe. */
static void
fold_totals(void)
{
    size_t length = 0;
    for (size_t i = 0; i < totals_length; i++) {
        size_t j = 0;
        while (j < length && totals[j].probe_id != totals[i].probe_id)
            j++;
        if (j == length) {
            totals[length] = totals[i];
            totals[length].lost_slot = NULL; /* that is of one thread */
            totals[length++].thread = 0;
            continue;
        }
        totals[j].started += totals[i].started;
        totals[j].committed += totals[i].committed;
        totals[j].lost += totals[i].lost;
    }
    totals_length = length;
}

/* The entry that `total` was added to; NULL without memory. */
static Total *
add_total(Total total)
{
    for (size_t i = totals_length; i-- > 0;)
        if (totals[i].probe_id == total.probe_id && totals[i].thread == total.thread) {
            totals[i].started += total.started;
            totals[i].committed += total.committed;
            totals[i].lost += total.lost;
            return &totals[i];
        }
    if (totals_length >= KEPT_APART && totals_length >= totals_capacity)
        fold_totals();
    Total *larger = grown(totals, totals_length, &totals_capacity, sizeof(Total));
    if (larger == NULL)
        return NULL;
    totals = larger;
    totals[totals_length] = total;
    return &totals[totals_length++];
}

static void
fold_losses(void)
{
    size_t length = 0;
    for (size_t i = 0; i < losses_length; i++) {
        size_t j = 0;
        while (j < length && (losses[j].probe_id != losses[i].probe_id || losses[j].cause != losses[i].cause))
            j++;
        if (j == length) {
            losses[length] = losses[i];
            losses[length++].thread = 0;
            continue;
        }
        losses[j].samples += losses[i].samples;
        if (losses[i].first_ns < losses[j].first_ns)
            losses[j].first_ns = losses[i].first_ns;
        if (losses[i].last_ns > losses[j].last_ns)
            losses[j].last_ns = losses[i].last_ns;
    }
    losses_length = length;
}

static void
add_loss(Loss loss)
{
    for (size_t i = losses_length; i-- > 0;)
        if (losses[i].probe_id == loss.probe_id && losses[i].thread == loss.thread && losses[i].cause == loss.cause) {
            losses[i].samples += loss.samples;
            if (loss.first_ns < losses[i].first_ns)
                losses[i].first_ns = loss.first_ns;
            if (loss.last_ns > losses[i].last_ns)
                losses[i].last_ns = loss.last_ns;
            return;
        }
    if (losses_length >= KEPT_APART && losses_length >= losses_capacity)
        fold_losses();
    Loss *larger = grown(losses, losses_length, &losses_capacity, sizeof(Loss));
    if (larger == NULL)
        return;
    losses = larger;
    losses[losses_length++] = loss;
}

void
count_overwritten(uint32_t probe_id, int64_t thread_id, uint64_t samples, int64_t first_ns, int64_t last_ns)
{
    /* The thread that wrote them may have ended, so they are set off against its own counts here. */
    Total *total = add_total((Total){probe_id, thread_id, 0, -(int64_t)samples, (int64_t)samples, NULL});
    if (total != NULL)
        note_lost(&total->lost_slot, probe_id, total->thread, OVERWRITTEN, samples, first_ns, last_ns);
    add_loss((Loss){probe_id, OVERWRITTEN, thread_id, samples, first_ns, last_ns});
}

void
move_start(Thread *thread, uint32_t probe_id, int64_t entered_by)
{
    Count *count = count_of(thread, probe_id);
    lock_rings();
    if (count != NULL && add_total((Total){probe_id, entered_by, -1, 0, 0, NULL}) != NULL)
        count_up(count->started, 1);
    unlock_rings();
}

void
keep_counts(const Thread *thread)
{
    for (uint32_t id = 0; id < thread->counts_length; id++) {
        const Count *count = &thread->counts[id];
        if (count->started || count->committed || count->lost)
            add_total((Total){id, thread->id, (int64_t)count->started, (int64_t)count->committed, (int64_t)count->lost, NULL});
        if (count->lost)
            add_loss((Loss){id, NO_ROOM, thread->id, count->lost, count->first_loss, count->last_loss});
    }
}

void
forget_accounts(void)
{
    free(totals);
    free(losses);
    totals = NULL;
    losses = NULL;
    totals_length = totals_capacity = losses_length = losses_capacity = 0;
    while (watches != NULL) {
        const Watch *watch = watches;
        watches = watch->next;
        free((void *)watch);
    }
}

/* ---- reporting --------------------------------------------------------------------------------------------------- */

static PyObject *
contract_type(const char *name)
{
    PyObject *contract = PyImport_ImportModule("quantum_pulse.core.contract");
    PyObject *type = contract == NULL ? NULL : PyObject_GetAttrString(contract, name);
    Py_XDECREF(contract);
    return type;
}

/* Append `type(*row)` to `list`, or take the error over; `row` is given up. */
static int
append(PyObject *list, PyObject *type, PyObject *row)
{
    PyObject *item = row == NULL ? NULL : PyObject_Call(type, row, NULL);
    int result = item == NULL ? -1 : PyList_Append(list, item);
    Py_XDECREF(row);
    Py_XDECREF(item);
    return result;
}

/* A copy of all losses, NULL without memory. Making Python's objects may run anything, so that these would change. */
static Loss *
copy_of_losses(size_t *length)
{
    *length = losses_length;
    size_t capacity = losses_length + 1;
    Loss *copy = malloc(capacity * sizeof(Loss));
    if (copy != NULL && losses_length > 0)
        memcpy(copy, losses, losses_length * sizeof(Loss));
    for (Thread *thread = threads; copy != NULL && thread != NULL; thread = thread->next)
        for (uint32_t id = 0; copy != NULL && thread->session == ring.session && id < thread->counts_length; id++) {
            const Count *count = &thread->counts[id];
            uint64_t lost = seen(count->lost);
            if (!lost)
                continue;
            Loss *larger = grown(copy, *length, &capacity, sizeof(Loss));
            if (larger == NULL)
                free(copy);
            else
                larger[(*length)++] = (Loss){id, NO_ROOM, thread->id, lost, seen(count->first_loss), seen(count->last_loss)};
            copy = larger;
        }
    return copy;
}

PyObject *
list_losses(void)
{
    size_t length;
    lock_rings();
    Loss *copy = copy_of_losses(&length);
    unlock_rings();
    if (copy == NULL)
        return PyErr_NoMemory();
    PyObject *type = contract_type("Loss"), *result = type == NULL ? NULL : PyList_New(0);
    for (size_t i = 0; result != NULL && i < length; i++) {
        PyObject *row = Py_BuildValue("(ILKLLi)", copy[i].probe_id, (long)copy[i].thread,
                                      (unsigned long long)copy[i].samples, (long long)copy[i].first_ns,
                                      (long long)copy[i].last_ns, copy[i].cause);
        if (append(result, type, row) < 0)
            Py_CLEAR(result);
    }
    Py_XDECREF(type);
    free(copy);
    return result;
}

/* A copy of all totals, NULL without memory. */
static Total *
copy_of_totals(size_t *length)
{
    *length = totals_length;
    size_t capacity = totals_length + 1;
    Total *copy = malloc(capacity * sizeof(Total));
    if (copy != NULL && totals_length > 0)
        memcpy(copy, totals, totals_length * sizeof(Total));
    for (Thread *thread = threads; copy != NULL && thread != NULL; thread = thread->next)
        for (uint32_t id = 0; copy != NULL && thread->session == ring.session && id < thread->counts_length; id++) {
            const Count *count = &thread->counts[id];
            /* What has ended first: a thread that goes on meanwhile must not have ended more than it has started. */
            uint64_t committed = seen(count->committed), lost = seen(count->lost), started = seen(count->started);
            if (!started && !committed && !lost)
                continue;
            Total *larger = grown(copy, *length, &capacity, sizeof(Total));
            if (larger == NULL)
                free(copy);
            else
                larger[(*length)++] = (Total){id, thread->id, (int64_t)started, (int64_t)committed, (int64_t)lost, NULL};
            copy = larger;
        }
    return copy;
}

PyObject *
list_accounts(void)
{
    size_t length;
    lock_rings();
    Total *copy = copy_of_totals(&length);
    unlock_rings();
    if (copy == NULL)
        return PyErr_NoMemory();
    PyObject *type = contract_type("Account"), *result = type == NULL ? NULL : PyList_New(0);
    for (size_t i = 0; result != NULL && i < length; i++) {
        PyObject *row = Py_BuildValue("(ILLLL)", copy[i].probe_id, (long long)copy[i].thread, (long long)copy[i].started,
                                      (long long)copy[i].committed, (long long)copy[i].lost);
        if (append(result, type, row) < 0)
            Py_CLEAR(result);
    }
    Py_XDECREF(type);
    free(copy);
    return result;
}

/* ---- watching ---------------------------------------------------------------------------------------------------- */

PyObject *
watch(PyObject *module, PyObject *args)
{
    unsigned int probe_id;
    long long limit;
    int on_error;
    if (!PyArg_ParseTuple(args, "ILp", &probe_id, &limit, &on_error))
        return NULL;
    Watch *watch = malloc(sizeof(Watch));
    if (watch == NULL)
        return PyErr_NoMemory();
    lock_rings();
    *watch = (Watch){probe_id, limit, on_error, watches};
    tell(watches, watch);
    for (Thread *thread = threads; thread != NULL; thread = thread->next)
        if (thread->session == ring.session && probe_id < thread->counts_length)
            tell(thread->counts[probe_id].is_watched, 1);
    unlock_rings();
    Py_RETURN_NONE;
}

void
look_at(uint32_t probe_id, int64_t duration, uint32_t error, int64_t span)
{
    for (const Watch *watch = seen(watches); watch != NULL; watch = watch->next) {
        if (watch->probe_id != probe_id)
            continue;
        if ((watch->limit > 0 && duration > watch->limit) || (watch->on_error && error != 0)) {
            note_trip(probe_id, duration, error, span);
            return;
        }
    }
}
