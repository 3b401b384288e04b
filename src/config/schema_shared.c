/* SPDX-License-Identifier: Apache-2.0
 * Shared blocks, and the top-level blocks that have no effect as a whole. */
#include "schema_shared.h"

/* clang-format off */
/* The TLS keys of a Grafana client. */
#define CLIENT_TLS_KEYS(reason)                              \
    K("tls_enabled", BOOL, N, "false", reason),              \
    K("tls_cert_path", STRING, N, "", reason),               \
    K("tls_key_path", STRING, N, "", reason),                \
    K("tls_ca_path", STRING, N, "", reason),                 \
    K("tls_server_name", STRING, N, "", reason),             \
    K("tls_insecure_skip_verify", BOOL, N, "false", reason), \
    K("tls_cipher_suites", STRING, N, "", reason),           \
    K("tls_min_version", STRING, N, "", reason)

static const struct key consul_keys[] = {
    K("host", STRING, N, "localhost:8500", NO_RING),
    K("acl_token", STRING, N, "", NO_RING, .flags = KEY_SECRET),
    K("http_client_timeout", DURATION, N, "20s", NO_RING),
    K("consistent_reads", BOOL, N, "false", NO_RING),
    K("watch_rate_limit", FLOAT, N, "1", NO_RING),
    K("watch_burst_size", INT, N, "1", NO_RING),
    K("cas_retry_delay", DURATION, N, "1s", NO_RING),
};
static BLOCK(block_consul, "consul.Config", consul_keys);
static const struct key etcd_keys[] = {
    K("endpoints", STRINGS, N, NULL, NO_RING),
    K("dial_timeout", DURATION, N, "10s", NO_RING),
    K("max_retries", INT, N, "10", NO_RING),
    CLIENT_TLS_KEYS(NO_RING),
    K("username", STRING, N, "", NO_RING),
    K("password", STRING, N, "", NO_RING, .flags = KEY_SECRET),
};
static BLOCK(block_etcd, "etcd.Config", etcd_keys);
static const struct key multi_keys[] = {
    K("primary", STRING, N, "", NO_RING),
    K("secondary", STRING, N, "", NO_RING),
    K("mirror_enabled", BOOL, N, "false", NO_RING),
    K("mirror_timeout", DURATION, N, "2s", NO_RING),
};
static BLOCK(block_multi, "kv.MultiConfig", multi_keys);
static const struct key kvstore_keys[] = {
    K("store", STRING, N, "memberlist", NO_RING),
    K("prefix", STRING, N, "collectors/", NO_RING),
    B("consul", block_consul),
    B("etcd", block_etcd),
    B("multi", block_multi),
};
BLOCK(schema_kvstore, "kv.Config", kvstore_keys);

static const struct key ring_keys[] = {
    B("kvstore", schema_kvstore),
    K("heartbeat_period", DURATION, N, "5s", NO_RING),
    K("heartbeat_timeout", DURATION, N, "1m", NO_RING),
    K("wait_stability_min_duration", DURATION, N, "1m", NO_RING),
    K("wait_stability_max_duration", DURATION, N, "5m", NO_RING),
    K("instance_id", STRING, N, NULL, NO_RING),
    K("instance_interface_names", STRINGS, N, NULL, NO_RING),
    K("instance_port", INT, N, "0", NO_RING),
    K("instance_addr", STRING, N, "", NO_RING),
    K("instance_zone", STRING, N, "", NO_RING),
    K("enable_inet6", BOOL, N, "false", NO_RING),
    K("wait_active_instance_timeout", DURATION, N, "10m", NO_RING),
};
BLOCK(schema_ring, "distributor.RingConfig", ring_keys);
static const struct key partition_ring_keys[] = {
    B("kvstore", schema_kvstore),
    K("min_partition_owners_count", INT, N, "1", NO_RING),
    K("min_partition_owners_duration", DURATION, N, "10s", NO_RING),
    K("delete_inactive_partition_after", DURATION, N, "13h", NO_RING),
};
BLOCK(schema_partition_ring, "ingester.PartitionRingConfig", partition_ring_keys);

static const struct key kafka_keys[] = {
    K("address", STRING, N, "localhost:9092", NO_KAFKA),
    K("topic", STRING, N, "", NO_KAFKA),
    K("client_id", STRING, N, "", NO_KAFKA),
    K("client_rack", STRING, N, "", NO_KAFKA),
    K("dial_timeout", DURATION, N, "2s", NO_KAFKA),
    K("write_timeout", DURATION, N, "10s", NO_KAFKA),
    K("sasl_mechanism", STRING, N, "", NO_KAFKA),
    K("sasl_username", STRING, N, "", NO_KAFKA),
    K("sasl_password", STRING, N, "", NO_KAFKA, .flags = KEY_SECRET),
    CLIENT_TLS_KEYS(NO_KAFKA),
    K("consumer_group", STRING, N, "", NO_KAFKA),
    K("consumer_group_offset_commit_interval", DURATION, N, "1s", NO_KAFKA),
    K("last_produced_offset_retry_timeout", DURATION, N, "10s", NO_KAFKA),
    K("auto_create_topic_enabled", BOOL, N, "true", NO_KAFKA),
    K("auto_create_topic_default_partitions", INT, N, "1000", NO_KAFKA),
    K("producer_max_record_size_bytes", INT, N, "15983616", NO_KAFKA),
    K("producer_max_buffered_bytes", INT, N, "1073741824", NO_KAFKA),
    K("target_consumer_lag_at_startup", DURATION, N, "2s", NO_KAFKA),
    K("max_consumer_lag_at_startup", DURATION, N, "15s", NO_KAFKA),
    K("disable_kafka_telemetry", BOOL, N, "false", NO_KAFKA),
    K("consumer_group_lag_metric_update_interval", DURATION, N, "1m", NO_KAFKA),
};
BLOCK(schema_kafka, "ingest.KafkaConfig", kafka_keys);
static const struct key ingest_keys[] = {
    K("enabled", BOOL, R, "false", NO_KAFKA, .flags = KEY_OLD),
    B("kafka", schema_kafka),
};
BLOCK(schema_ingest, "ingest.Config", ingest_keys);

static const struct key backoff_keys[] = {
    K("min_period", DURATION, N, "100ms", NO_TUNE),
    K("max_period", DURATION, N, "10s", NO_TUNE),
    K("max_retries", INT, N, "10", NO_TUNE),
};
BLOCK(schema_backoff, "backoff.Config", backoff_keys);
static const struct key client_validation_keys[] = {K("label", STRING, N, "", NO_RPC)};
static BLOCK(block_client_validation, "clusterutil.ClusterValidationConfig", client_validation_keys);
static const struct key grpc_client_keys[] = {
    K("max_recv_msg_size", INT, N, "104857600", NO_RPC),
    K("max_send_msg_size", INT, N, "104857600", NO_RPC),
    K("grpc_compression", STRING, N, "snappy", NO_RPC),
    K("rate_limit", FLOAT, N, "0", NO_RPC),
    K("rate_limit_burst", INT, N, "0", NO_RPC),
    K("backoff_on_ratelimits", BOOL, N, "false", NO_RPC),
    B("backoff_config", schema_backoff),
    K("initial_stream_window_size", SIZE, N, "63KiB1023B", NO_RPC),
    K("initial_connection_window_size", SIZE, N, "63KiB1023B", NO_RPC),
    CLIENT_TLS_KEYS(NO_RPC),
    K("connect_timeout", DURATION, N, "5s", NO_RPC),
    K("connect_backoff_base_delay", DURATION, N, "1s", NO_RPC),
    K("connect_backoff_max_delay", DURATION, N, "5s", NO_RPC),
    B("cluster_validation", block_client_validation),
};
BLOCK(schema_grpc_client, "grpcclient.Config", grpc_client_keys);
static const struct key pool_keys[] = {
    K("checkinterval", DURATION, N, "15s", NO_RPC),
    K("healthcheckenabled", BOOL, N, "true", NO_RPC),
    K("healthchecktimeout", DURATION, N, "1s", NO_RPC),
    K("healthcheckgraceperiod", DURATION, N, "0s", NO_RPC),
    K("maxconcurrenthealthchecks", INT, N, "0", NO_RPC),
};
static BLOCK(block_pool, "client.PoolConfig", pool_keys);
static const struct key client_keys[] = {
    B("pool_config", block_pool),
    K("remote_timeout", DURATION, N, "5s", NO_RPC),
    B("grpc_client_config", schema_grpc_client),
};
BLOCK(schema_client, "client.Config", client_keys);

static const struct key zone_routing_keys[] = {
    K("enabled", BOOL, N, "false", NO_RING),
    K("instance_availability_zone", STRING, N, "", NO_RING),
    K("role", STRING, N, "member", NO_RING),
};
static BLOCK(block_zone_routing, "memberlist.ZoneAwareRoutingConfig", zone_routing_keys);
static const struct key delay_tracker_keys[] = {
    K("enabled", BOOL, N, "false", NO_RING),
    K("beacon_interval", DURATION, N, "1m", NO_RING),
    K("beacon_lifetime", DURATION, N, "10m", NO_RING),
    K("log_beacons_latency_longer_than", DURATION, N, "0s", NO_RING),
};
static BLOCK(block_delay_tracker, "memberlist.PropagationDelayTrackerConfig", delay_tracker_keys);
static const struct key memberlist_keys[] = {
    K("node_name", STRING, N, "", NO_RING),
    K("randomize_node_name", BOOL, N, "true", NO_RING),
    K("stream_timeout", DURATION, N, "2s", NO_RING),
    K("retransmit_factor", INT, N, "2", NO_RING),
    K("pull_push_interval", DURATION, N, "30s", NO_RING),
    K("gossip_interval", DURATION, N, "1s", NO_RING),
    K("gossip_nodes", INT, N, "2", NO_RING),
    K("gossip_to_dead_nodes_time", DURATION, N, "30s", NO_RING),
    K("dead_node_reclaim_time", DURATION, N, "0s", NO_RING),
    K("compression_enabled", BOOL, N, "false", NO_RING),
    K("notify_interval", DURATION, N, "0s", NO_RING),
    K("received_messages_queue_size", INT, N, "1024", NO_RING),
    K("advertise_addr", STRING, N, "", NO_RING),
    K("advertise_port", INT, N, "7946", NO_RING),
    K("cluster_label", STRING, N, "", NO_RING),
    K("cluster_label_verification_disabled", BOOL, N, "false", NO_RING),
    K("join_members", ANY, N, NULL, NO_RING),
    K("min_join_backoff", DURATION, N, "1s", NO_RING),
    K("max_join_backoff", DURATION, N, "1m", NO_RING),
    K("max_join_retries", INT, N, "10", NO_RING),
    K("abort_if_cluster_fast_join_fails", BOOL, N, "false", NO_RING),
    K("abort_if_cluster_fast_join_fails_min_nodes", INT, N, "1", NO_RING),
    K("abort_if_cluster_join_fails", BOOL, N, "false", NO_RING),
    K("rejoin_interval", DURATION, N, "0s", NO_RING),
    K("rejoin_seed_nodes", STRING, N, "", NO_RING),
    K("left_ingesters_timeout", DURATION, N, "5m", NO_RING),
    K("obsolete_entries_timeout", DURATION, N, "30s", NO_RING),
    K("leave_timeout", DURATION, N, "20s", NO_RING),
    K("broadcast_timeout_for_local_updates_on_shutdown", DURATION, N, "10s", NO_RING),
    K("message_history_buffer_bytes", INT, N, "0", NO_RING),
    K("watch_prefix_buffer_size", INT, N, "128", NO_RING),
    K("bind_addr", STRINGS, N, NULL, NO_RING),
    K("bind_port", INT, N, "7946", NO_RING),
    K("packet_dial_timeout", DURATION, N, "2s", NO_RING),
    K("packet_write_timeout", DURATION, N, "5s", NO_RING),
    K("max_concurrent_writes", INT, N, "3", NO_RING),
    K("acquire_writer_timeout", DURATION, N, "250ms", NO_RING),
    CLIENT_TLS_KEYS(NO_RING),
    B("zone_aware_routing", block_zone_routing),
    B("propagation_delay_tracker", block_delay_tracker),
};
BLOCK(schema_memberlist, "memberlist.KVConfig", memberlist_keys);

static const struct key usage_report_keys[] = {
    K("reporting_enabled", BOOL, N, "false", "nothing is ever reported to anyone"),
    B("backoff", schema_backoff),
};
BLOCK(schema_usage_report, "usagestats.Config", usage_report_keys);

#define NO_BLOCK_FORMAT "blocks have a format of their own"
#define BLOCK_CONFIG_KEYS                                                       \
    K("bloom_filter_false_positive", FLOAT, N, "0.01", NO_BLOCK_FORMAT),        \
    K("bloom_filter_shard_size_bytes", INT, N, "102400", NO_BLOCK_FORMAT),      \
    K("version", STRING, N, NULL, NO_BLOCK_FORMAT),                             \
    K("search_encoding", STRING, N, NULL, NO_BLOCK_FORMAT, .flags = KEY_OLD),   \
    K("search_page_size_bytes", INT, N, NULL, NO_BLOCK_FORMAT, .flags = KEY_OLD), \
    K("v2_index_downsample_bytes", INT, N, NULL, NO_BLOCK_FORMAT, .flags = KEY_OLD), \
    K("v2_index_page_size_bytes", INT, N, NULL, NO_BLOCK_FORMAT, .flags = KEY_OLD), \
    K("v2_encoding", STRING, N, NULL, NO_BLOCK_FORMAT, .flags = KEY_OLD),       \
    K("parquet_row_group_size_bytes", INT, N, "100000000", NO_BLOCK_FORMAT),    \
    K("parquet_dedicated_columns", ANY, N, NULL, NO_BLOCK_FORMAT)
static const struct key block_config_keys[] = {BLOCK_CONFIG_KEYS};
BLOCK(schema_block_config, "common.BlockConfig", block_config_keys);
#define NO_BUILDER "recent data becomes blocks in the process, see live_store"
static const struct key builder_block_keys[] = {
    K("max_block_bytes", UINT64, N, "20971520", NO_BUILDER),
    BLOCK_CONFIG_KEYS,
};
static BLOCK(block_builder_block, "blockbuilder.BlockConfig", builder_block_keys);
static const struct key builder_wal_keys[] = {
    K("path", STRING, N, "/var/tempo/block-builder/traces", NO_BUILDER),
    K("ingestion_time_range_slack", DURATION, N, "2m", NO_BUILDER),
    K("v2_encoding", STRING, N, "none", NO_BUILDER, .flags = KEY_OLD),
    K("search_encoding", STRING, N, "none", NO_BUILDER, .flags = KEY_OLD),
    K("version", STRING, N, NULL, NO_BUILDER),
};
static BLOCK(block_builder_wal, "wal.Config", builder_wal_keys);
static const struct key block_builder_keys[] = {
    K("instance_id", STRING, N, NULL, NO_BUILDER),
    K("assigned_partitions", ANY, N, NULL, NO_BUILDER),
    K("partitions_per_instance", INT, N, "0", NO_BUILDER),
    K("consume_cycle_duration", DURATION, N, "5m", NO_BUILDER),
    K("max_consuming_bytes", UINT64, N, "5000000000", NO_BUILDER),
    B("block", block_builder_block),
    B("wal", block_builder_wal),
};
BLOCK(schema_block_builder, "blockbuilder.Config", block_builder_keys);
/* clang-format on */
