{
  local config = self._config,
  local q = (import 'promql.libsonnet')(config),
  local record(name, expr) = { record: name, expr: std.rstripChars(expr, '\n') },
  local verdicts(matchers) = 'sum without (code, source) (%s)' % q.rate('keytail_verdicts_total', matchers, 300),

  prometheusRules+:: {
    groups+: [{
      name: 'keytail.rules',
      rules: [
        record('instance_code:keytail_verdicts:rate5m', 'sum without (source) (%s)' % q.rate('keytail_verdicts_total', '', 300)),
        record('instance:keytail_verdicts:rate5m', verdicts('')),
        // Verdicts without a source needed no data: no key, or none that can be one.
        record('instance:keytail_cache_hits:ratio_rate5m', verdicts('source="cache"') + '\n/\n' + verdicts('source!=""')),
        record('instance:keytail_request_duration_seconds:p99_5m', q.quantile('0.99', 'keytail_request_duration_seconds', 'route=~"/v1/keys/verify|/v1/auth.*|/envoy.+"', 'code, route', 300)),
        record('instance:keytail_event_lag_seconds:p99_5m', q.quantile('0.99', 'keytail_event_lag_seconds', 'kind="change"', 'kind', 300)),
        record('fleet:keytail_staleness_seconds:min', 'min by (%s) (%s >= 0)' % [config.fleetLabels, q.metric('keytail_staleness_seconds')]),
        record('fleet:keytail_staleness_seconds:max', 'max by (%s) (%s)' % [config.fleetLabels, q.metric('keytail_staleness_seconds')]),
      ],
    }],
  },
}
