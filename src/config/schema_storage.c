/* SPDX-License-Identifier: Apache-2.0
 * Keys of `storage` and `cache`. */
#include "schema.h"
#include "schema_shared.h"

#define NO_S3    "object storage is " LATER
#define NO_CACHE "a cache in the process is used"
#define NO_FMT   "blocks have a format of their own"

/* clang-format off */
#define BASE struct config
static const struct key local_keys[] = {
    K("path", STRING, I, "", "directory of the blocks", TO(local_path)),
    K("min_free_bytes", UINT64, I, "1073741824", "ingest answers 503 when less is free", TO(min_free_bytes), .flags = KEY_OWN),
    K("min_free_ratio", FLOAT, I, "0.05", "or less than this part of the file system; the smaller of the two counts", TO(min_free_ratio), .flags = KEY_OWN),
    K("max_bytes", UINT64, I, "0", "oldest blocks are deleted beyond this; 0: off", TO(store_bytes_max), .flags = KEY_OWN),
};
static BLOCK(block_local, "local.Config", local_keys);
static const struct key wal_keys[] = {
    K("path", STRING, I, "/var/tempo/wal", "directory of the write-ahead log"),
    K("v2_encoding", STRING, N, NULL, NO_FMT, .flags = KEY_OLD),
    K("search_encoding", STRING, N, NULL, NO_FMT, .flags = KEY_OLD),
    K("ingestion_time_range_slack", DURATION, N, "2m", "times of spans are stored as they are"),
    K("version", STRING, N, NULL, NO_FMT, .flags = KEY_OLD),
    K("durability", STRING, I, "commit", "when a request is answered: commit (after a sync), interval:<duration>, none", .flags = KEY_OWN),
};
static BLOCK(block_wal, "wal.Config", wal_keys);
#undef BASE

static const struct key block_keys[] = {
    K("bloom_filter_false_positive", FLOAT, N, "0.01", NO_FMT),
    K("bloom_filter_shard_size_bytes", INT, N, "102400", NO_FMT),
    K("version", STRING, N, "vParquet4", "own block format is used"),
    K("search_encoding", STRING, N, NULL, NO_FMT, .flags = KEY_OLD),
    K("search_page_size_bytes", INT, N, NULL, NO_FMT, .flags = KEY_OLD),
    K("v2_index_downsample_bytes", INT, N, NULL, NO_FMT, .flags = KEY_OLD),
    K("v2_index_page_size_bytes", INT, N, NULL, NO_FMT, .flags = KEY_OLD),
    K("v2_encoding", STRING, N, NULL, NO_FMT, .flags = KEY_OLD),
    K("parquet_row_group_size_bytes", INT, N, "100000000", NO_FMT),
    K("parquet_dedicated_columns", ANY, N, NULL, "columns of their own are chosen by what the data holds"),
};
static BLOCK(block_block, "common.BlockConfig", block_keys);

static const struct key search_cache_keys[] = {
    K("footer", BOOL, N, "false", NO_FMT),
    K("column_index", BOOL, N, "false", NO_FMT),
    K("offset_index", BOOL, N, "false", NO_FMT),
};
static BLOCK(block_search_cache, "tempodb.CacheControlConfig", search_cache_keys);
static const struct key search_keys[] = {
    K("chunk_size_bytes", UINT32, N, "1000000", NO_FMT),
    K("prefetch_trace_count", INT, N, "1000", NO_FMT),
    K("read_buffer_count", INT, N, "32", NO_FMT),
    K("read_buffer_size_bytes", INT, N, "1048576", NO_FMT),
    B("cache_control", block_search_cache),
};
static BLOCK(block_search, "tempodb.SearchConfig", search_keys);

static const struct key sse_keys[] = {
    K("type", STRING, N, "", NO_S3),
    K("kms_key_id", STRING, N, "", NO_S3),
    K("kms_encryption_context", STRING, N, "", NO_S3),
    K("encryption_key", STRING, N, "", NO_S3, .flags = KEY_SECRET),
};
static BLOCK(block_sse, "s3.SSEConfig", sse_keys);
static const struct key s3_keys[] = {
    K("tls_cert_path", STRING, N, "", NO_S3),
    K("tls_key_path", STRING, N, "", NO_S3),
    K("tls_ca_path", STRING, N, "", NO_S3),
    K("tls_server_name", STRING, N, "", NO_S3),
    K("tls_insecure_skip_verify", BOOL, N, "false", NO_S3),
    K("tls_cipher_suites", STRING, N, "", NO_S3),
    K("tls_min_version", STRING, N, "VersionTLS12", NO_S3),
    K("bucket", STRING, N, "", NO_S3),
    K("prefix", STRING, N, "", NO_S3),
    K("endpoint", STRING, N, "", NO_S3),
    K("region", STRING, N, "", NO_S3),
    K("access_key", STRING, N, "", NO_S3),
    K("secret_key", STRING, N, "", NO_S3, .flags = KEY_SECRET),
    K("session_token", STRING, N, "", NO_S3, .flags = KEY_SECRET),
    K("insecure", BOOL, N, "false", NO_S3),
    K("part_size", UINT64, N, "0", NO_S3),
    K("hedge_requests_at", DURATION, N, "0s", NO_S3),
    K("hedge_requests_up_to", INT, N, "2", NO_S3),
    K("retry_max_attempts", INT, N, "10", NO_S3),
    K("retry_backoff_initial", DURATION, N, "200ms", NO_S3),
    K("retry_backoff_max", DURATION, N, "1s", NO_S3),
    K("signature_v2", BOOL, R, "false", "version 2 signatures are no longer in use"),
    K("forcepathstyle", BOOL, N, "false", NO_S3),
    K("enable_dual_stack", BOOL, N, "false", NO_S3),
    K("bucket_lookup_type", INT, N, "0", NO_S3),
    K("tags", STRING_MAP, N, NULL, NO_S3),
    K("storage_class", STRING, N, "", NO_S3),
    K("metadata", STRING_MAP, N, NULL, NO_S3),
    K("native_aws_auth_enabled", BOOL, N, "false", NO_S3),
    K("list_blocks_concurrency", INT, N, "3", NO_S3),
    B("sse", block_sse),
};
static BLOCK(block_s3, "s3.Config", s3_keys);
static const struct key gcs_keys[] = {
    K("bucket_name", STRING, N, "", NO_S3),
    K("prefix", STRING, N, "", NO_S3),
    K("chunk_buffer_size", INT, N, "10485760", NO_S3),
    K("endpoint", STRING, N, "", NO_S3),
    K("hedge_requests_at", DURATION, N, "0s", NO_S3),
    K("hedge_requests_up_to", INT, N, "2", NO_S3),
    K("insecure", BOOL, N, "false", NO_S3),
    K("object_cache_control", STRING, N, "", NO_S3),
    K("object_metadata", STRING_MAP, N, NULL, NO_S3),
    K("list_blocks_concurrency", INT, N, "3", NO_S3),
    K("max_retries", INT, N, "3", NO_S3),
};
static BLOCK(block_gcs, "gcs.Config", gcs_keys);
static const struct key azure_keys[] = {
    K("storage_account_name", STRING, N, "", NO_S3),
    K("storage_account_key", STRING, N, "", NO_S3, .flags = KEY_SECRET),
    K("use_managed_identity", BOOL, N, "false", NO_S3),
    K("use_federated_token", BOOL, N, "false", NO_S3),
    K("user_assigned_id", STRING, N, "", NO_S3),
    K("container_name", STRING, N, "", NO_S3),
    K("prefix", STRING, N, "", NO_S3),
    K("endpoint_suffix", STRING, N, "blob.core.windows.net", NO_S3),
    K("max_buffers", INT, N, "4", NO_S3),
    K("buffer_size", INT, N, "3145728", NO_S3),
    K("hedge_requests_at", DURATION, N, "0s", NO_S3),
    K("hedge_requests_up_to", INT, N, "2", NO_S3),
    K("use_v2_sdk", BOOL, N, "false", NO_S3, .flags = KEY_OLD),
};
static BLOCK(block_azure, "azure.Config", azure_keys);

static const struct key pool_keys[] = {
    K("max_workers", INT, N, "400", "workers follow the number of processors"),
    K("queue_depth", INT, N, "20000", "workers follow the number of processors"),
};
static BLOCK(block_pool, "pool.Config", pool_keys);
static const struct key background_keys[] = {
    K("writeback_goroutines", INT, N, "10", NO_CACHE),
    K("writeback_buffer", INT, N, "10000", NO_CACHE),
};
static BLOCK(block_background, "cache.BackgroundConfig", background_keys);

#define ONE_PROCESS "one process owns the blocks, nothing is polled"
static const struct key trace_keys[] = {
    B("pool", block_pool),
    B("wal", block_wal),
    B("block", block_block),
    B("search", block_search),
    K("blocklist_poll", DURATION, N, "5m", ONE_PROCESS),
    K("blocklist_poll_concurrency", UINT64, N, "50", ONE_PROCESS),
    K("blocklist_poll_tenant_concurrency", UINT64, N, "0", ONE_PROCESS),
    K("blocklist_poll_fallback", BOOL, N, "true", ONE_PROCESS),
    K("blocklist_poll_tenant_index_builders", INT, N, "2", ONE_PROCESS),
    K("blocklist_poll_stale_tenant_index", DURATION, N, "0s", ONE_PROCESS),
    K("blocklist_poll_jitter_ms", INT, N, "0", ONE_PROCESS),
    K("blocklist_poll_tolerate_consecutive_errors", INT, N, "1", ONE_PROCESS),
    K("blocklist_poll_tolerate_tenant_failures", INT, N, "1", ONE_PROCESS),
    K("empty_tenant_deletion_enabled", BOOL, N, "false", "an empty tenant is one empty directory"),
    K("empty_tenant_deletion_age", DURATION, N, "0s", "an empty tenant is one empty directory"),
    K("backend", STRING, I, "", "local; s3, gcs and azure are " LATER),
    B("local", block_local),
    B("gcs", block_gcs),
    B("s3", block_s3),
    B("azure", block_azure),
    K("cache", STRING, N, "", "deprecated, a cache in the process is used"),
    B("background_cache", block_background),
    K("memcached", ANY, N, NULL, NO_CACHE),
    K("redis", ANY, N, NULL, NO_CACHE),
    K("cache_min_compaction_level", INT, N, "0", NO_CACHE),
    K("cache_max_block_age", DURATION, N, "0s", NO_CACHE),
};
static BLOCK(block_trace, "tempodb.Config", trace_keys);
static const struct key storage_keys[] = {B("trace", block_trace)};
BLOCK(schema_storage, "storage.Config", storage_keys);

static const struct key cache_item_keys[] = {
    K("roles", STRINGS, N, NULL, NO_CACHE),
    K("memcached", ANY, N, NULL, NO_CACHE),
    K("redis", ANY, N, NULL, NO_CACHE),
};
static BLOCK(block_cache_item, "cache.CacheConfig", cache_item_keys);
static const struct key cache_keys[] = {
    B("background", block_background),
    K("caches", BLOCKS, N, NULL, NO_CACHE, .block = &block_cache_item),
};
BLOCK(schema_cache, "cache.Config", cache_keys);
/* clang-format on */
