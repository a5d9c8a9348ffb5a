package doctest

// metricSections describe what to do about each metric, in the order of
// docs/metrics.md. The other columns come from the daemon itself.
var metricSections = []struct {
	title string
	rows  []metricRow
}{
	{"State and freshness", []metricRow{
		{"keytail_state", "Alert when no instance is `live` for some minutes. See [states](http.md#states)."},
		{"keytail_staleness_seconds", "Alert when it is near `--max-stale` for longer than an election takes."},
		{"keytail_heartbeats_total", "`failed` while MongoDB has a primary: check the privileges on `keytail_heartbeats`. `refused` without a restore: check who writes that collection ([security](security.md))."},
		{"keytail_heartbeat_round_trip_seconds", "Answers from the cache are at least this old. If a quantile is high, look at the time of majority writes on the primary, and at the network. With `--stream-scope collection` it includes the wait for the next batch."},
		{"keytail_max_stale_seconds", "Nothing. Alerts compare `keytail_staleness_seconds` with it."},
		{"keytail_config_info", "Nothing. Join it with other metrics, or look for instances whose settings differ."},
		{"keytail_build_info", "Nothing. Join it with other metrics to see versions."},
	}},
	{"Answers", []metricRow{
		{"keytail_verdicts_total", "Alert on the rate of `UNAVAILABLE`. A rise of `NOT_FOUND` is someone guessing keys, or a wrong mapping."},
		{"keytail_unavailable_total", "`busy`: raise `maxPoolSize` in the URI. `database`, `timeout`, `breaker`: look at MongoDB. `no_collection`: the collection is gone. `stale`, `server_behind`: the primary is slow or cut off."},
		{"keytail_reads_total", "A high rate in a complete cache means many updates. In a lazy one raise `--cache-size`. Many `linearizable`: the stream is not fresh, see `keytail_state`. `error`: look at MongoDB."},
		{"keytail_flights_joined_total", "Nothing. It shows how many reads were saved because requests for the same key came together."},
		{"keytail_revalidations_total", "Nothing for single `outdated` ones: a key changed while it was read. Many: look at `keytail_changes_total` and `keytail_losses_total`."},
		{"keytail_revisions_ahead_total", "A client sends a `min_revision` of another deployment: find it in its log."},
		{"keytail_callers_refused_total", "A caller has no token, or an old one. Someone may also be trying tokens: on the admin listener, `keytail audit --action login_failed` has from where."},
	}},
	{"Requests", []metricRow{
		{"keytail_request_duration_seconds", "Alert on a high quantile of the routes that validate keys (`/v1/keys/verify`, `/v1/auth`, …). An answer from the cache takes less than a millisecond, so slow ones wait for a read: see `keytail_verdicts_total` by source. `/v1/sync` and writes with `wait` take as long as they wait. `500`: a bug of keytail, see its log."},
		{"keytail_requests_in_flight", "If it grows, requests wait for the database: see `keytail_limit_used`. `/v1/events` has one for each subscriber, and `/metrics` the scrape itself."},
		{"keytail_limit_used", "Alert when it is near `keytail_limit_maximum` for minutes. `reads`: look at MongoDB, or raise `maxPoolSize` in the URI. `unreached_reads`: clients send a `min_revision` that is ahead. `waits`, `event_subscriptions`: add instances."},
		{"keytail_limit_maximum", "Nothing. `reads` follows `maxPoolSize` in the URI."},
	}},
	{"Connections", []metricRow{
		{"keytail_connections", "Alert when it is near `keytail_connections_limit` for long ([limits](deploy.md#connections-and-open-files))."},
		{"keytail_connections_limit", "Nothing. Compare it with `keytail_connections`."},
		{"keytail_connections_evicted_total", "A rise: more clients than connections. Raise `--max-connections` or the limit of open files if they are yours, else find out who connects."},
		{"keytail_requests_over_limit_total", "**Alert when it rises**: a client with HTTP/2 has more requests in progress than all connections together may have. The same."},
		{"keytail_connections_delayed_total", "**Alert when it rises**: every connection has a request in progress, and new clients wait. The same."},
		{"keytail_tls_handshake_errors_total", "A rise: a client does not trust the certificate, has none itself, or speaks no TLS. The log has an example a minute."},
	}},
	{"Change stream", []metricRow{
		{"keytail_losses_total", "A single one needs nothing: keytail reads all keys again. If a reason repeats, see the [table of losses](../internal/changestream/DESIGN.md#resume-or-loss); `history_lost` asks for a larger oplog."},
		{"keytail_stream_failures_total", "The log line of each code has what to do; the [table of codes](../internal/changestream/DESIGN.md#error-codes) has all of them."},
		{"keytail_stream_opens_total", "Nothing by itself. Many `resumed` an hour: something ends connections."},
		{"keytail_stream_events_total", "Nothing. It shows the load: events of heartbeats and of keys."},
		{"keytail_event_lag_seconds", "Alert on a high quantile of `change`: a revocation takes effect on this instance after that time. It depends on both clocks: check time synchronisation first. `heartbeat` has a value every second, even if no key changes; with `--stream-scope collection` it stays 0."},
		{"keytail_stream_backlog_seconds", "If it does not fall, look for many writes to other collections and a slow network."},
		{"keytail_stream_catching_up_seconds", "Nothing for some seconds. Past the bound keytail reads all keys again (`catch_up_too_slow`)."},
		{"keytail_stream_watchdog_total", "If it rises steadily, check the connection, and whether the server has much oplog to scan."},
		{"keytail_stream_moved", "Nothing for some minutes: the stream goes back by itself. If it is 1 again and again, look at the replication lag of the secondaries."},
		{"keytail_stream_freshness_misses_total", "If it rises steadily, check that the change stream is on the replica set that takes the heartbeats."},
		{"keytail_epoch", "Odd for long: the stream cannot be opened; the log says why."},
		{"keytail_changes_total", "Nothing. It shows how often key documents change."},
	}},
	{"Cache", []metricRow{
		{"keytail_complete", "0 for long with `--preload auto`: the collection does not fit; raise `--cache-size`."},
		{"keytail_cache_entries", "Nothing. Compare it with the number of documents."},
		{"keytail_cache_overlay_entries", "Nothing. It rises with the keys that change, until a scan fills the cache again."},
		{"keytail_cache_negatives", "Nothing. It shows unknown keys of a cache that is not complete."},
		{"keytail_cache_bytes", "Nothing. It stays within `--cache-size`, also while a scan fills a second copy. Only where not all keys fit may it be a sixteenth more, for keys on probation. What it does not count is in [memory](deploy.md#why-more-than-the-cache)."},
		{"keytail_cache_evictions", "0 while the cache is complete. If it rises, the collection does not fit and keys are read on demand: raise `--cache-size`."},
		{"keytail_cache_front_misses_total", "Nothing. Compare it with `keytail_verdicts_total` of the source `cache`: it is small if few keys make most requests."},
		{"keytail_slots", "Nothing. It is at least the number of keys at the last scan that filled the cache."},
		{"keytail_cache_oversize_total", "Documents over 16 KiB are read for each request: make them smaller, such as their metadata."},
		{"keytail_event_refusals_total", "Nothing. It shows revocations that took effect without a read."},
		{"keytail_refresh_dropped_total", "Nothing for a burst of updates: such a key is read when it is next requested, and all keys are read again if that leaves many (`keytail_scan_requests_total{reason=\"refreshes_dropped\"}`)."},
		{"keytail_audit_mismatch_total", "**Must stay 0.** Restart keytail, and report a bug with the log."},
	}},
	{"Scans", []metricRow{
		{"keytail_scans_total", "`does_not_fit`: raise `--cache-size`. `failed`: look at MongoDB. `unreadable_hash`: the log names the document."},
		{"keytail_scan_requests_total", "Many `rebuild` or `refreshes_dropped`: very many keys change; find out why, or raise `--cache-size`. Many `new_epoch`: see `keytail_losses_total`."},
		{"keytail_scan_pause_seconds", "Nothing. keytail delays scans when something requests many, and so that the instances of a fleet do not scan at once."},
	}},
	{"Documents", []metricRow{
		{"keytail_unique_index", "**0: create the index now.** The log has the command."},
		{"keytail_unique_index_checks_total", "`failed`: check the privilege `listIndexes`."},
		{"keytail_duplicate_hashes_total", "**Alert when it rises.** Create the unique index, and remove one of the two documents."},
		{"keytail_ambiguous_reads_total", "The same. The log names the documents."},
		{"keytail_defective_documents_total", "Look up the `_id`s in the log and repair the documents; run `keytail doctor`."},
	}},
	{"Expiry", []metricRow{
		{"keytail_keys_expiring", "Rotate the keys: `keytail keys list --expires-within 14d` has them. Absent: the cache is not complete (`keytail_complete`), or the first scan has not ended."},
	}},
	{"Usage", []metricRow{
		{"keytail_usage_keys_total", "`refused`: `last_used` or `usage_count` of these documents has the wrong type."},
		{"keytail_usage_dropped_total", "`full`: the database could not be written to for long. `unknown` needs nothing: `usage_count` is a little low."},
		{"keytail_usage_pending_keys", "If it grows for minutes, look at MongoDB."},
		{"keytail_usage_batch_size", "A small value means that writes are slow: look at MongoDB."},
		{"keytail_usage_failing_seconds", "Alert when it is more than some minutes: check the privilege `update`."},
		{"keytail_usage_flush_failures_total", "The same. What was not written is tried again."},
		{"keytail_usage_flush_seconds", "Nothing. It shows how long writes take."},
	}},
	{"Files", []metricRow{
		{"keytail_file_refused", "**Alert when it is 1 for a minute**: a token that was taken out of the file still works, and a certificate may expire. The log has the reason. Repair the file: it is read again within 2 s."},
		{"keytail_file_reload_failures_total", "The same: it also counts contents that were repaired since."},
	}},
	{"Logs", []metricRow{
		{"keytail_log_lines_dropped_total", "Nothing for a moment. If it rises steadily, the lines that are logged name the cause."},
		{"keytail_decision_log_lines_total", "Nothing. It shows how fast the [decision log](logs.md#the-decision-log) grows."},
		{"keytail_decision_log_dropped_total", "`queue_full`: lower `--decision-log-accepts`, or find out why the disk is slow. `write_failed`: the disk is full, or the file cannot be written; the log has the error."},
		{"keytail_decision_log_queue_length", "If it stays near 4096, accepts are dropped; near 8192, refusals are, too: see the row above."},
	}},
	{"Traces", []metricRow{
		{"keytail_trace_spans_exported_total", "Nothing. It shows how much [traces](tracing.md) cost the collector."},
		{"keytail_trace_spans_dropped_total", "`queue_full`: sample fewer requests (`OTEL_TRACES_SAMPLER`). `export_failed`: look at the collector and at `OTEL_EXPORTER_OTLP_ENDPOINT`; the log has the error. Answers do not depend on it."},
	}},
	{"Fleet", []metricRow{
		{"keytail_fleet_list_reads_total", "`failed`: waits for the fleet time out. Check the privilege `find` on `keytail_heartbeats`."},
	}},
}

// metricRow is one metric's own line.
type metricRow struct{ name, action string }
