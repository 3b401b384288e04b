/* SPDX-License-Identifier: Apache-2.0 */
typedef int placeholder_server; /* an ISO C file must not be empty */
