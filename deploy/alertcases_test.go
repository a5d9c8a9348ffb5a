package deploy

// healthy are series of an instance that is well, with their values each 30 s, in the
// notation of promtool: start+step, and how often.
var healthy = map[string]string{
	`up`:                                                        "1x300",
	`process_start_time_seconds`:                                "1000x300",
	`keytail_state{state="live"}`:                               "1x300",
	`keytail_state{state="preloading"}`:                         "0x300",
	`keytail_state{state="connecting"}`:                         "0x300",
	`keytail_state{state="stale"}`:                              "0x300",
	`keytail_state{state="down"}`:                               "0x300",
	`keytail_staleness_seconds`:                                 "0.5x300",
	`keytail_max_stale_seconds`:                                 "15x300",
	`keytail_heartbeats_total{result="acknowledged"}`:           "0+30x300",
	`keytail_heartbeats_total{result="failed"}`:                 "0x300",
	`keytail_heartbeat_round_trip_seconds_count`:                "0+30x300",
	`keytail_losses_total{reason="history_lost"}`:               "0x300",
	`keytail_event_lag_seconds_bucket{kind="change",le="1"}`:    "0+100x300",
	`keytail_event_lag_seconds_bucket{kind="change",le="2.5"}`:  "0+100x300",
	`keytail_event_lag_seconds_bucket{kind="change",le="+Inf"}`: "0+100x300",

	`keytail_verdicts_total{code="VALID",source="cache"}`:                            "0+300x300",
	`keytail_verdicts_total{code="VALID",source="fill"}`:                             "0x300",
	`keytail_unavailable_total{reason="database"}`:                                   "0x300",
	`keytail_unavailable_total{reason="busy"}`:                                       "0x300",
	`keytail_unavailable_total{reason="caller_left"}`:                                "0x300",
	`keytail_request_duration_seconds_bucket{route="/v1/auth",code="200",le="0.1"}`:  "0+100x300",
	`keytail_request_duration_seconds_bucket{route="/v1/auth",code="200",le="0.5"}`:  "0+100x300",
	`keytail_request_duration_seconds_bucket{route="/v1/auth",code="200",le="+Inf"}`: "0+100x300",
	`keytail_request_duration_seconds_count{route="/v1/auth",code="500"}`:            "0x300",
	`keytail_limit_used{limit="reads"}`:                                              "10x300",
	`keytail_limit_maximum{limit="reads"}`:                                           "100x300",
	`keytail_connections{listener="public"}`:                                         "10x300",
	`keytail_connections_limit{listener="public"}`:                                   "100x300",

	`keytail_audit_mismatch_total`:      "0x300",
	`keytail_unique_index`:              "1x300",
	`keytail_duplicate_hashes_total`:    "0x300",
	`keytail_defective_documents_total`: "0x300",
	`keytail_complete`:                  "1x300",
	`keytail_config_info{preload="auto",stream_scope="database",usage="write"}`: "1x300",
	`keytail_file_refused{file="tls-cert-file"}`:                                "0x300",
	`keytail_usage_failing_seconds`:                                             "0x300",
	`keytail_decision_log_dropped_total{reason="queue_full"}`:                   "0x300",
	`keytail_keys_expiring`:                                                     "0x300",
}

// alertCase is what makes one alert fire, and what is just not enough.
type alertCase struct {
	alert string
	// at is when it fires.
	at string
	// above and below replace healthy series.
	above, below map[string]string
	// labels are those beside job, instance and severity. "": it has no such label.
	labels map[string]string
	// description as the person on call gets it.
	description string
	// also fires with it.
	also string
}

// series is a short name for a set of series with their values.
type series = map[string]string

var alertCases = []alertCase{
	{
		alert: "KeytailDown", at: "5m",
		// It changes with each request between stale and down.
		above:  series{`keytail_state{state="down"}`: "1 0 1 0 1 0 1 0 1 0 1 0 1"},
		below:  series{`keytail_state{state="stale"}`: "1x300", `keytail_state{state="live"}`: "0x300"},
		labels: map[string]string{"state": "down"}, description: "a has no fresh data, and reads of MongoDB fail.",
	},
	{
		alert: "KeytailStale", at: "5m",
		above:       series{`keytail_staleness_seconds`: "15.5x300", `keytail_staleness_seconds{job="keytail",instance="b"}`: "-1x300"},
		below:       series{`keytail_staleness_seconds`: "15x300", `keytail_staleness_seconds{job="keytail",instance="b"}`: "-1x300"},
		description: "The data of a is 15.5s old, which is more than max_stale.",
	},
	{
		alert: "KeytailNotLive", at: "20m",
		above:  series{`keytail_state{state="preloading"}`: "1x300", `keytail_state{state="live"}`: "0x300"},
		below:  series{`keytail_state{state="preloading"}`: "1x28 0x270"},
		labels: map[string]string{"state": "preloading"}, description: "a has been preloading for more than 15 minutes.",
	},
	{
		alert: "KeytailInstanceDown", at: "5m",
		above: series{`up`: "0x300"}, below: series{`up`: "0 1x300"},
		description: "Prometheus cannot scrape a.",
	},
	{
		alert: "KeytailAbsent", at: "5m", also: "KeytailInstanceDown",
		above:  series{`up`: "_x300", `up{job="keytail",instance="b"}`: "0x300"},
		below:  series{`up`: "_x300"},
		labels: map[string]string{"instance": "", "job": ""}, description: "Prometheus finds no instance of keytail, or can scrape none.",
	},
	{
		alert: "KeytailRestarting", at: "5m",
		above: series{`process_start_time_seconds`: "1 2 3 4x300"}, below: series{`process_start_time_seconds`: "1 2 3x300"},
		description: "a has started 3 times in 15 minutes.",
	},
	{
		alert: "KeytailInstanceLagging", at: "5m",
		above: series{`keytail_staleness_seconds`: "8.1x300"}, below: series{`keytail_staleness_seconds`: "8x300"},
		description: "The data of a is 7.6s older than that of the freshest instance.",
	},
	{
		alert: "KeytailHeartbeatsFailing", at: "5m",
		above: series{`keytail_heartbeats_total{result="failed"}`: "0+10x300"}, below: series{`keytail_heartbeats_total{result="failed"}`: "0+7x300"},
		description: "25% of the heartbeats of a fail or are refused.",
	},
	{
		alert: "KeytailNoProgress", at: "5m",
		above: series{`keytail_heartbeat_round_trip_seconds_count`: "0x300"}, below: series{`keytail_heartbeat_round_trip_seconds_count`: "0+1x300"},
		labels:      map[string]string{"result": "acknowledged"},
		description: "MongoDB acknowledges the heartbeats of a, and none of them has arrived for two minutes.",
	},
	{
		alert: "KeytailHistoryLost", at: "5m",
		above: series{`keytail_losses_total{reason="history_lost"}`: "0 0 1x300"}, below: series{`keytail_losses_total{reason="history_lost"}`: "7x300"},
		labels: map[string]string{"reason": "history_lost"}, description: "a: history_lost.",
	},
	{
		alert: "KeytailHistoryLostRepeatedly", at: "1h", also: "KeytailHistoryLost",
		above:       series{`keytail_losses_total{reason="history_lost"}`: "0x90 1x5 2x5 3x300"},
		below:       series{`keytail_losses_total{reason="history_lost"}`: "5x300"},
		description: "a has lost it 3 times in an hour.",
	},
	{
		alert: "KeytailRevocationsLate", at: "15m",
		above:       series{`keytail_event_lag_seconds_bucket{kind="change",le="1"}`: "0+98x300"},
		below:       series{`keytail_event_lag_seconds_bucket{kind="change",le="1"}`: "0+99x300"},
		description: "One of a hundred changes, revocations included, reaches a after 1.75s or later.",
	},
	{
		alert: "KeytailUnavailable", at: "8m",
		above:       series{`keytail_unavailable_total{reason="database"}`: "0+3.3x300"},
		below:       series{`keytail_unavailable_total{reason="database"}`: "0+2.9x300", `keytail_unavailable_total{reason="caller_left"}`: "0+200x300"},
		description: "a answers 0.11 requests a second with UNAVAILABLE.",
	},
	{
		alert: "KeytailReadCapReached", at: "10m",
		above: series{`keytail_unavailable_total{reason="busy"}`: "0+1.5x300"}, below: series{`keytail_unavailable_total{reason="busy"}`: "0x5 1x2 2x300"},
		labels: map[string]string{"reason": "busy"}, description: "a refuses 0.05 requests a second.",
	},
	{
		alert: "KeytailLimitNear", at: "10m",
		above: series{`keytail_limit_used{limit="reads"}`: "81x300"}, below: series{`keytail_limit_used{limit="reads"}`: "80x300"},
		labels: map[string]string{"limit": "reads"}, description: "a uses 81% of the limit of reads.",
	},
	{
		alert: "KeytailConnectionsNearLimit", at: "10m",
		above: series{`keytail_connections{listener="public"}`: "91x300"}, below: series{`keytail_connections{listener="public"}`: "90x300"},
		labels: map[string]string{"listener": "public"}, description: "The public listener of a has 91% of them.",
	},
	{
		alert: "KeytailHitRatioLow", at: "30m",
		above:       series{`keytail_verdicts_total{code="VALID",source="fill"}`: "0+100x300"},
		below:       series{`keytail_verdicts_total{code="VALID",source="fill"}`: "0+74x300"},
		description: "a answers 75% of the requests from its cache, and reads MongoDB for the others.",
	},
	{
		alert: "KeytailSlow", at: "20m",
		above:       series{`keytail_request_duration_seconds_bucket{route="/v1/auth",code="200",le="0.1"}`: "0+98x300"},
		below:       series{`keytail_request_duration_seconds_bucket{route="/v1/auth",code="200",le="0.1"}`: "0+99x300"},
		description: "One of a hundred requests to a takes 300ms or longer.",
	},
	{
		alert: "KeytailInternalErrors", at: "5m",
		above: series{`keytail_request_duration_seconds_count{route="/v1/auth",code="500"}`: "0 0 1x300"}, below: series{`keytail_request_duration_seconds_count{route="/v1/auth",code="500"}`: "3x300"},
		description: "a has answered requests with 500 in the last 15 minutes.",
	},
	{
		alert: "KeytailAuditMismatch", at: "5m",
		above:       series{`keytail_audit_mismatch_total`: "0 1x300"},
		description: "a has found 1 entries that no change explains.",
	},
	{
		alert: "KeytailNoUniqueIndex", at: "5m",
		above: series{`keytail_unique_index`: "0x300"}, below: series{`keytail_unique_index`: "0 1x300"},
		description: "a finds no unique index, so nothing prevents two documents with the same key.",
	},
	{
		alert: "KeytailDuplicateHashes", at: "5m",
		above: series{`keytail_duplicate_hashes_total`: "0 0 1x300"}, below: series{`keytail_duplicate_hashes_total`: "3x300"},
		description: "a has found a hash that more than one document has.",
	},
	{
		alert: "KeytailDefectiveDocuments", at: "1h",
		above: series{`keytail_defective_documents_total`: "0x50 4x300"}, below: series{`keytail_defective_documents_total`: "3x300"},
		description: "a has read such documents 4 times in two hours.",
	},
	{
		alert: "KeytailCacheIncomplete", at: "20m",
		above: series{`keytail_complete`: "0x300"},
		below: series{
			`keytail_complete`: "0x300", `keytail_config_info{preload="off",stream_scope="database",usage="write"}`: "1x300",
			`keytail_config_info{preload="auto",stream_scope="database",usage="write"}`: "_x300",
		},
		description: "a is live, and has had no complete cache for 15 minutes: unknown keys are read from MongoDB.",
	},
	{
		alert: "KeytailFileRefused", at: "5m",
		above: series{`keytail_file_refused{file="tls-cert-file"}`: "1x300"}, below: series{`keytail_file_refused{file="tls-cert-file"}`: "1 0x300"},
		labels: map[string]string{"file": "tls-cert-file"}, description: "a cannot use the file of --tls-cert-file.",
	},
	{
		alert: "KeytailUsageFlushFailing", at: "5m",
		above: series{`keytail_usage_failing_seconds`: "301x300"}, below: series{`keytail_usage_failing_seconds`: "300x300"},
		description: "a has failed for 5m 1s.",
	},
	{
		alert: "KeytailDecisionsDropped", at: "5m",
		above: series{`keytail_decision_log_dropped_total{reason="queue_full"}`: "0 0 0 0 9x300"}, below: series{`keytail_decision_log_dropped_total{reason="queue_full"}`: "9x300"},
		labels: map[string]string{"reason": "queue_full"}, description: "a has left out 9 decisions in 10 minutes: queue_full.",
	},
	{
		alert: "KeytailKeysExpiring", at: "65m",
		above:  series{`keytail_keys_expiring`: "3x300"},
		labels: map[string]string{"instance": ""}, description: "3 active keys expire within the expiry notice.",
	},
}
