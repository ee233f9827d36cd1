/*
** The normal distribution function and its inverse, for random numbers.
** SPDX-License-Identifier: MIT
*/
#ifndef QNI_RANDOM_NORMAL_H
#define QNI_RANDOM_NORMAL_H

/* Phi(x) */
double qni_normal_cdf(double x);
/* The x with Phi(x) = p, 0 < p < 1, to about 1e-16 relative. */
double qni_normal_quantile(double p);

#endif
