package main

import (
	"fmt"
	"strings"
)

// row is a row of panels under a title.
type row struct {
	title  string
	panels []*panel
}

var rows = []row{
	{"State", []*panel{
		{title: "State", kind: kindStates, description: "The state of each instance.", queries: []query{{stateNumber(), "{{instance}}"}}},
		{
			title: "Age of the data", unit: "s", description: "The staleness of answers from the cache, and the maximum, after which each request reads MongoDB.",
			queries: []query{
				{`keytail_staleness_seconds{§}`, "{{instance}}"},
				{`max(keytail_max_stale_seconds{§})`, "max_stale"},
			},
		},
		{
			title: "How far instances are behind the freshest one", unit: "s", description: "Of the fleet: the instances with the same job.",
			queries: []query{{`keytail_staleness_seconds{§} - on (job) group_left () min by (job) (keytail_staleness_seconds{job=~"$job"} >= 0)`, "{{instance}}"}},
		},
		{
			title: "Heartbeats", unit: "ops", description: "Heartbeats by result. Others than acknowledged: MongoDB takes no writes.",
			queries: []query{{`sum by (result) (rate(keytail_heartbeats_total{§}[$__rate_interval]))`, "{{result}}"}},
		},
	}},
	{"Answers", []*panel{
		{
			title: "Verdicts by code", unit: "reqps",
			queries: []query{{`sum by (code) (rate(keytail_verdicts_total{§}[$__rate_interval]))`, "{{code}}"}},
		},
		{
			title: "Responses by status", unit: "reqps", description: "Of all routes, health checks and scrapes included.",
			queries: []query{{`sum by (code) ` + observations("keytail_request_duration_seconds", ""), "{{code}}"}},
		},
		{
			title: "Duration of validating requests", unit: "s", kind: kindHeatmap, description: "Needs native histograms (docs/metrics.md).",
			queries: []query{{`sum(rate(keytail_request_duration_seconds{` + validating + `,§}[$__rate_interval]))`, ""}},
		},
		{
			title: "Quantiles of validating requests", unit: "s", description: "From classic or native histograms.",
			queries: quantiles("keytail_request_duration_seconds", validating),
		},
		{
			title: "Share of answers from the cache", unit: "percentunit",
			queries: []query{{`sum by (instance) (rate(keytail_verdicts_total{source="cache",§}[$__rate_interval])) / sum by (instance) (rate(keytail_verdicts_total{source!="",§}[$__rate_interval]))`, "{{instance}}"}},
		},
		{
			title: "Reads of MongoDB", unit: "ops", description: "By kind and result.",
			queries: []query{{`sum by (kind, result) (rate(keytail_reads_total{§}[$__rate_interval])) > 0`, "{{kind}} {{result}}"}},
		},
		{
			title: "UNAVAILABLE by reason", unit: "reqps",
			queries: []query{{`sum by (reason) (rate(keytail_unavailable_total{§}[$__rate_interval]))`, "{{reason}}"}},
		},
	}},
	{"Change stream", []*panel{
		{
			title: "Delay of changes and revocations", unit: "s", description: "Age of changes of keys when an instance applies them, by the clocks of MongoDB and of the instance.",
			queries: quantiles("keytail_event_lag_seconds", `kind="change"`),
		},
		{
			title: "Round trip of heartbeats", unit: "s", description: "From before the write to the arrival through the change stream.",
			queries: quantiles("keytail_heartbeat_round_trip_seconds", ""),
		},
		{
			title: "Losses of the history", unit: "short", description: "In the last hour, by reason. After each the instance reads all keys again.",
			queries: []query{{`sum by (instance, reason) (increase(keytail_losses_total{§}[1h])) > 0`, "{{instance}} {{reason}}"}},
		},
		{
			title: "Failures of the change stream", unit: "ops", description: "By phase, and by MongoDB's error code.",
			queries: []query{{`sum by (phase, code) (rate(keytail_stream_failures_total{§}[$__rate_interval])) > 0`, "{{phase}} {{code}}"}},
		},
		{
			title: "Streams that have left their member", unit: "short", description: "Instances whose stream the primary serves because the member that --read-preference chose was behind.",
			queries: []query{{`sum(keytail_stream_moved{§})`, "instances"}},
		},
		{
			title: "Changes of keys", unit: "eps",
			queries: []query{{`sum by (type) (rate(keytail_stream_events_total{type!="heartbeat",§}[$__rate_interval]))`, "{{type}}"}},
		},
		{
			title: "Catching up", unit: "s", description: "How long, and how far behind in the oplog.",
			queries: []query{
				{`keytail_stream_catching_up_seconds{§}`, "{{instance}} for"},
				{`keytail_stream_backlog_seconds{§}`, "{{instance}} behind"},
			},
		},
	}},
	{"Resources", []*panel{
		{
			title: "Connections", unit: "percentunit", description: "Of those that each listener may have.",
			queries: []query{{`max by (instance, listener) (keytail_connections{§} / keytail_connections_limit{§})`, "{{instance}} {{listener}}"}},
		},
		{
			title: "Limits", unit: "percentunit", description: "How much of each limit is in use.",
			queries: []query{{`max by (instance, limit) (keytail_limit_used{§} / keytail_limit_maximum{§})`, "{{instance}} {{limit}}"}},
		},
		{
			title: "Writes of last_used", unit: "short", description: "Keys whose use is not written yet, and for how long writing has failed.",
			queries: []query{
				{`keytail_usage_pending_keys{§}`, "{{instance}} pending"},
				{`keytail_usage_failing_seconds{§}`, "{{instance}} failing for (s)"},
			},
		},
		{
			title: "Cache", unit: "short", description: "Keys by the last scan that filled the cache, and those that were stored since.",
			queries: []query{
				{`keytail_cache_entries{§}`, "{{instance}}"},
				{`keytail_cache_overlay_entries{§}`, "{{instance}} since the scan"},
			},
		},
		{
			title: "Scans", unit: "short", description: "Scans of all keys in the last hour, of all instances, by reason; and how long the next one waits (s).",
			queries: []query{
				{`sum by (reason) (increase(keytail_scan_requests_total{§}[1h])) > 0`, "{{reason}}"},
				{`max(keytail_scan_pause_seconds{§}) > 0`, "the longest wait (s)"},
			},
		},
		{
			title: "Memory", unit: "bytes", description: "Resident memory, the bytes of the cache, and the limit of Go's heap (GOMEMLIMIT).",
			queries: []query{
				{`process_resident_memory_bytes{§}`, "{{instance}} resident"},
				{`keytail_cache_bytes{§}`, "{{instance}} cache"},
				{`go_gc_gomemlimit_bytes{§} < 2^60`, "{{instance}} GOMEMLIMIT"},
			},
		},
		{
			title: "CPU", unit: "short", description: "Cores in use.",
			queries: []query{{`rate(process_cpu_seconds_total{§}[$__rate_interval])`, "{{instance}}"}},
		},
		{
			title: "Files that are refused", unit: "short", description: "1: the previous content of a token or certificate file is in use.",
			queries: []query{{`keytail_file_refused{§}`, "{{instance}} {{file}}"}},
		},
		{
			title: "Keys that are about to expire", unit: "short",
			queries: []query{{`max by (job) (keytail_keys_expiring{§})`, "{{job}}"}},
		},
	}},
}

// validating matches the routes that validate keys.
const validating = `route=~"/v1/keys/verify|/v1/auth.*|/envoy.+"`

// stateNumber is the place of an instance's state in states.
func stateNumber() string {
	var each []string
	for i, s := range states {
		each = append(each, fmt.Sprintf(`keytail_state{state=%q,§} * %d`, s.name, i+1))
	}
	return "max by (instance) (" + strings.Join(each, " or ") + ")"
}

// quantiles of a histogram. Of the form that Prometheus does not have, classic or
// native, the selection is empty.
func quantiles(name, matchers string) []query {
	var all []query
	for _, q := range []string{"0.5", "0.99", "0.999"} {
		all = append(all, query{fmt.Sprintf(
			`histogram_quantile(%s, sum by (le) (rate(%s[$__rate_interval]))) or histogram_quantile(%[1]s, sum(rate(%[3]s[$__rate_interval])))`,
			q, selection(name+"_bucket", matchers), selection(name, matchers)), q})
	}
	return all
}

// observations of a histogram of either form.
func observations(name, matchers string) string {
	return fmt.Sprintf(`(rate(%s[$__rate_interval]) or histogram_count(rate(%s[$__rate_interval])))`,
		selection(name+"_count", matchers), selection(name, matchers))
}

// selection has these matchers and those of the variables.
func selection(name, matchers string) string {
	if matchers != "" {
		matchers += ","
	}
	return name + "{" + matchers + "§}"
}
