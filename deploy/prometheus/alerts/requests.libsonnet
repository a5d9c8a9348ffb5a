// What callers notice.
{
  local config = self._config,
  local q = (import '../promql.libsonnet')(config),
  local alert = (import 'alert.libsonnet')(config),

  prometheusAlerts+:: {
    groups+: [{
      name: 'keytail-requests',
      rules: [
        alert(
          // Longer than the range, so that one answer is not enough. Without what the
          // caller is the cause of.
          'KeytailUnavailable', 'critical', 180,
          |||
            sum without (reason) (%s)
            > %g *
            sum without (code, source) (%s)
          ||| % [
            q.rate('keytail_unavailable_total', 'reason!~"caller_left|busy_revision"', 120),
            config.unavailableRatio,
            q.rate('keytail_verdicts_total', '', 120),
          ],
          'keytail cannot answer: callers get UNAVAILABLE (503).',
          '{{ $labels.instance }} answers {{ $value | printf "%.2f" }} requests a second with UNAVAILABLE.',
        ),
        alert(
          'KeytailReadCapReached', 'warning', 300,
          '%s > 0' % q.rate('keytail_unavailable_total', 'reason="busy"', 120),
          'keytail refuses requests because too many wait for a read of MongoDB.',
          '{{ $labels.instance }} refuses {{ $value | printf "%.2f" }} requests a second.',
        ),
        alert(
          'KeytailLimitNear', 'warning', 300,
          '%s / %s > %g' % [q.metric('keytail_limit_used'), q.metric('keytail_limit_maximum'), config.limitRatio],
          'A limit of keytail is near.',
          '{{ $labels.instance }} uses {{ $value | humanizePercentage }} of the limit of {{ $labels.limit }}.',
        ),
        alert(
          'KeytailConnectionsNearLimit', 'warning', 300,
          '%s / %s > %g' % [q.metric('keytail_connections'), q.metric('keytail_connections_limit'), config.connectionsRatio],
          'A listener of keytail has almost all the connections that it may have.',
          'The {{ $labels.listener }} listener of {{ $labels.instance }} has {{ $value | humanizePercentage }} of them.',
        ),
        alert(
          'KeytailHitRatioLow', 'warning', 900,
          |||
            instance:keytail_cache_hits:ratio_rate5m < %g
            and instance:keytail_verdicts:rate5m > %g
            and ignoring (state) %s == 1
          ||| % [config.hitRatio, config.hitRatioVerdictsPerSecond, q.metric('keytail_state', 'state="live"')],
          'The cache of keytail answers few requests.',
          '{{ $labels.instance }} answers {{ $value | humanizePercentage }} of the requests from its cache, and reads MongoDB for the others.',
        ),
        alert(
          'KeytailSlow', 'warning', 600,
          // In an outage other alerts fire.
          |||
            instance:keytail_request_duration_seconds:p99_5m > %g
            and ignoring (state) %s == 1
          ||| % [config.requestSeconds, q.metric('keytail_state', 'state="live"')],
          'keytail answers slowly.',
          'One of a hundred requests to {{ $labels.instance }} takes {{ $value | humanizeDuration }} or longer.',
        ),
        alert(
          'KeytailInternalErrors', 'warning', 0,
          'sum without (code, route) %s > 0' % q.observations('keytail_request_duration_seconds', 'code="500"', 900),
          'keytail answers with 500, which is a defect of keytail.',
          '{{ $labels.instance }} has answered requests with 500 in the last 15 minutes.',
        ),
      ],
    }],
  },
}
