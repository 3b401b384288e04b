/* SPDX-License-Identifier: Apache-2.0
 * Blocks that several others contain. Most of them have no effect here: rings, key-value stores,
 * Kafka, gRPC clients. */
#pragma once

#include "schema.h"

extern const struct block schema_kvstore, schema_ring, schema_partition_ring, schema_kafka;
extern const struct block schema_grpc_client, schema_client, schema_memberlist, schema_ingest;
extern const struct block schema_block_builder, schema_usage_report, schema_backoff;
extern const struct block schema_block_config; /* common.BlockConfig where it has no effect */
extern const struct block schema_compaction;   /* tempodb.CompactorConfig */
