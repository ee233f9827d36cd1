/* Chooses the kernels of the network ops for this CPU. SPDX-License-Identifier: MIT */
#include "exec/cpu.h"
#include "kernels/attention.h"
#include "kernels/batch_norm.h"
#include "kernels/conv.h"
#include "kernels/dropout.h"
#include "kernels/embedding.h"
#include "kernels/entropy.h"
#include "kernels/linear.h"
#include "kernels/loss.h"
#include "kernels/norm.h"
#include "kernels/softmax.h"
#include "kernels/winograd.h"

QNI_DISPATCH(attention, qni_attention_table)
QNI_DISPATCH(batch_norm, qni_batch_norm_table)
QNI_DISPATCH(conv_kernels, qni_conv_table)
QNI_DISPATCH(dropout, qni_dropout_table)
QNI_DISPATCH(embedding, qni_embedding_table)
QNI_DISPATCH(entropy, qni_entropy_table)
QNI_DISPATCH(linear_kernels, qni_linear_table)
QNI_DISPATCH(loss, qni_loss_table)
QNI_DISPATCH(norm, qni_norm_table)
QNI_DISPATCH(softmax, qni_softmax_table)
QNI_DISPATCH(winograd, qni_winograd_table)
