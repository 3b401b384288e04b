/* SPDX-License-Identifier: Apache-2.0
 * The catalog of a simulated world: for sim_world.c alone. */
#pragma once

#include "sim_world.h"

extern struct sim_world *sim_world_now;

/* Gives `c`, an image of w, its catalog; as sim_world_image says. */
void sim_catalog_image(struct sim_world *w, struct sim_world *c, size_t i_catalog, uint64_t seed);
void sim_catalog_forget(struct sim_world *w);
char *sim_catalog_dir_new(void); /* a fresh directory for LMDB; sim_catalog_forget removes it */
