#include "texts.h"
#include "slots.h"

#include <string.h>

/* At most one segment in so many is used for texts. */
#define SEGMENTS_PER_TEXT_SEGMENT 8
#define SEGMENT_TEXTS_BYTES (SEGMENT_BYTES - SEGMENT_HEADER_BYTES)
#define FIRST_CAPACITY 64

static Kind errors;

/* ---- in the ring ------------------------------------------------------------------------------------------------- */

void
begin_texts(void)
{
    ring.text_segment = NULL;
    ring.texts_used = ring.last_text = ring.text_segments = 0;
}

/* A free segment has texts from now on. Whether there was one. */
static int
reserve_text_segment(void)
{
    if ((ring.text_segments + 1) * SEGMENTS_PER_TEXT_SEGMENT > ring.limit)
        return 0;
    if (!make_room() && !(ring.on_full == OVERWRITE && overwrite()))
        return 0;
    Segment *segment = segment_of(ring.free_segments[--ring.free_length]);
    __atomic_store_n(&segment->state, FREE, __ATOMIC_RELEASE);
    __atomic_store_n(&segment->written, 0, __ATOMIC_RELEASE);
    segment->inverse = ~(uint32_t)0;
    segment->thread = ring.last_text;
    __atomic_store_n(&segment->sequence, ++ring.sequence, __ATOMIC_RELEASE);
    __atomic_store_n(&segment->state, HAS_TEXTS, __ATOMIC_RELEASE);
    ring.text_segment = segment;
    ring.texts_used = 0;
    ring.text_segments++;
    return 1;
}

/* Write a text behind the others. Its number, or OTHER_TEXT when there is no room. */
static uint32_t
put_text(const char *text, size_t length)
{
    size_t needed = sizeof(uint32_t) + length;
    if (needed > SEGMENT_TEXTS_BYTES)
        return OTHER_TEXT;
    size_t room = ring.text_segment == NULL ? TEXTS_BYTES : SEGMENT_TEXTS_BYTES;
    if (ring.texts_used + needed > room && !reserve_text_segment())
        return OTHER_TEXT;
    Segment *segment = ring.text_segment;
    char *area = segment == NULL ? ring.memory + TEXTS_OFFSET : (char *)segment + SEGMENT_HEADER_BYTES;
    uint32_t written = (uint32_t)length;
    memcpy(area + ring.texts_used, &written, sizeof(written));
    memcpy(area + ring.texts_used + sizeof(written), text, length);
    ring.texts_used += (uint32_t)needed;
    /* Before the first row that carries the number. */
    if (segment == NULL)
        __atomic_store_n(&ring.header->texts_bytes, ring.texts_used, __ATOMIC_RELEASE);
    else {
        segment->inverse = ~ring.texts_used;
        __atomic_store_n(&segment->written, ring.texts_used, __ATOMIC_RELEASE);
    }
    return ++ring.last_text;
}

/* ---- by text ----------------------------------------------------------------------------------------------------- */

/* The number of `text`; 0: it has none. Runs no Python. */
static inline uint32_t
find_text(const Texts *texts, PyObject *text, Py_hash_t hash)
{
    for (size_t i = (size_t)hash & texts->mask;; i = (i + 1) & texts->mask) {
        PyObject *known = seen(texts->entries[i].text);
        if (known == NULL)
            return 0;
        if (known == text || (texts->entries[i].hash == hash && PyUnicode_Compare(known, text) == 0))
            return texts->entries[i].number;
    }
}

static void
add_entry(Texts *texts, PyObject *text, Py_hash_t hash, uint32_t number)
{
    size_t i = (size_t)hash & texts->mask;
    while (texts->entries[i].text != NULL)
        i = (i + 1) & texts->mask;
    texts->entries[i].hash = hash;
    texts->entries[i].number = number;
    texts->length++;
    tell(texts->entries[i].text, Py_NewRef(text));
}

/* A table with room for more than `texts` has, or NULL. Whoever looks into the old one goes on to. */
static Texts *
larger_texts(const Texts *texts)
{
    size_t capacity = texts == NULL ? FIRST_CAPACITY : 2 * (texts->mask + 1);
    Texts *larger = calloc(1, sizeof(Texts) + capacity * sizeof(larger->entries[0]));
    if (larger == NULL)
        return NULL;
    larger->mask = capacity - 1;
    for (size_t i = 0; texts != NULL && i <= texts->mask; i++)
        if (texts->entries[i].text != NULL)
            add_entry(larger, texts->entries[i].text, texts->entries[i].hash, texts->entries[i].number);
    larger->older = ring.texts;
    ring.texts = larger;
    return larger;
}

/* A new text of `kind`, unless another thread has added it meanwhile. With the lock. */
static uint32_t
add_text(Kind *kind, PyObject *text, Py_hash_t hash, PyObject *encoded)
{
    Texts *texts = kind->session == ring.session ? kind->texts : NULL;
    uint32_t number = texts == NULL ? 0 : find_text(texts, text, hash);
    if (number != 0)
        return number;
    size_t length = texts == NULL ? 0 : texts->length;
    if (length >= ring.most_values)
        return OTHER_TEXT;
    if (texts == NULL || 2 * length > texts->mask) {
        texts = larger_texts(texts);
        if (texts == NULL)
            return OTHER_TEXT;
        tell(kind->texts, texts);
        tell(kind->session, ring.session);
    }
    number = put_text(PyBytes_AS_STRING(encoded), (size_t)PyBytes_GET_SIZE(encoded));
    if (number != OTHER_TEXT)
        add_entry(texts, text, hash, number);
    return number;
}

uint32_t
number_of_text(Kind *kind, PyObject *text)
{
    Py_hash_t hash = PyObject_Hash(text);
    if (seen(kind->session) == seen(ring.session)) {
        const Texts *texts = seen(kind->texts);
        uint32_t number = find_text(texts, text, hash);
        if (number != 0)
            return number;
        if (texts->length >= ring.most_values)
            return OTHER_TEXT;
    }
    uint64_t session = seen(ring.session);
    PyObject *encoded = PyUnicode_AsEncodedString(text, "utf-8", "backslashreplace"); /* also what is no Unicode text */
    uint32_t number = OTHER_TEXT;
    lock_rings();
    if (encoded != NULL && ring.in_use && ring.session == session) /* that may have run anything */
        number = add_text(kind, text, hash, encoded);
    unlock_rings();
    if (encoded == NULL)
        PyErr_Clear();
    Py_XDECREF(encoded);
    return number;
}

uint32_t
number_of_failure(PyObject *text)
{
    return number_of_text(&errors, text);
}

/* Asked of `type`: a metaclass may have ideas of its own about hashes and names. */
uint32_t
error_number(PyObject *kind)
{
    PyObject *name = PyType_Check(kind) ? PyType_GetName((PyTypeObject *)kind) : NULL;
    uint32_t number = 0;
    if (name != NULL && seen(ring.in_use))
        number = number_of_text(&errors, name);
    PyErr_Clear();
    Py_XDECREF(name);
    return number;
}

void
forget_texts(void)
{
    Texts *texts = ring.texts;
    ring.texts = NULL;
    while (texts != NULL) {
        Texts *next = texts->older;
        for (size_t i = 0; i <= texts->mask; i++)
            Py_XDECREF(texts->entries[i].text);
        free(texts);
        texts = next;
    }
}
