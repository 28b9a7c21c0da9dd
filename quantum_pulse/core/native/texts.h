/* Texts of a recording: names of errors and values of attributes. Rows carry their numbers, and the ring has them in the
 * order of the numbers, so that they are known of a process that was killed too. */
#ifndef QP_TEXTS_H
#define QP_TEXTS_H

#include "rings.h"

/* Numbers of texts by the text: a hash table that only grows. Whoever looks into it needs no lock. */
typedef struct Texts {
    struct Texts *older; /* all tables of the recording */
    size_t mask, length;
    struct {
        PyObject *text; /* NULL: none; stored last */
        Py_hash_t hash;
        uint32_t number;
    } entries[];
} Texts;

/* The texts of one kind, as the values of one attribute. */
typedef struct {
    uint64_t session; /* that `texts` is of */
    Texts *texts;
} Kind;

/* The number of `text`, an exact str, which is in the ring from then on; OTHER_TEXT where there are too many of the kind
 * or no room. Only while ring.recording. */
uint32_t number_of_text(Kind *kind, PyObject *text);

/* The number of a declared error. */
uint32_t number_of_failure(PyObject *text);

/* The number of an error's type, by its name. */
uint32_t error_number(PyObject *kind);

/* The recording begins, with nothing in it; and it has ended. */
void begin_texts(void);
void forget_texts(void);

#endif
