/* Texts that are kept once, for the life of the process. SPDX-License-Identifier: MIT */
#ifndef QNI_INTERN_H
#define QNI_INTERN_H

/*
** The one copy of this text: equal texts give the same pointer. NULL with QN_E_NOMEM.
** For texts of which there are few, as the places of a program; one thread at a time.
*/
const char *qni_intern(const char *text);

#endif
