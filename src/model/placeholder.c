/* SPDX-License-Identifier: Apache-2.0 */
typedef int placeholder_model; /* an ISO C file must not be empty */
