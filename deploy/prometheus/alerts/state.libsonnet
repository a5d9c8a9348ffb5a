// Whether instances are there, and what they are.
{
  local config = self._config,
  local q = (import '../promql.libsonnet')(config),
  local alert = (import 'alert.libsonnet')(config),

  prometheusAlerts+:: {
    groups+: [{
      name: 'keytail-state',
      rules: [
        alert(
          'KeytailDown', 'critical', 60,
          // Requests move the state between stale and down many times a second, and an
          // election makes it down for a moment.
          'avg_over_time(%s%s) > 0.25' % [q.metric('keytail_state', 'state="down"'), q.range(120)],
          'keytail is down: requests are answered with UNAVAILABLE.',
          '{{ $labels.instance }} has no fresh data, and reads of MongoDB fail.',
        ),
        alert(
          'KeytailStale', 'warning', 60,
          '%s > %s' % [q.metric('keytail_staleness_seconds'), q.metric('keytail_max_stale_seconds')],
          'keytail is stale: answers from the cache have ended.',
          'The data of {{ $labels.instance }} is {{ $value | humanizeDuration }} old, which is more than max_stale.',
        ),
        alert(
          'KeytailNotLive', 'warning', 900,
          '%s == 1' % q.metric('keytail_state', 'state=~"connecting|preloading"'),
          'keytail does not become live.',
          '{{ $labels.instance }} has been {{ $labels.state }} for more than 15 minutes.',
        ),
        alert(
          'KeytailInstanceDown', 'warning', 60,
          '%s == 0' % q.shared('up'),
          'An instance of keytail does not answer.',
          'Prometheus cannot scrape {{ $labels.instance }}.',
        ),
        alert(
          'KeytailAbsent', 'critical', 120,
          'absent(%s == 1)' % q.shared('up'),
          'No instance of keytail answers.',
          'Prometheus finds no instance of keytail, or can scrape none.',
        ),
        alert(
          'KeytailRestarting', 'warning', 0,
          'changes(%s%s) > %d' % [q.shared('process_start_time_seconds'), q.range(900), config.restarts],
          'keytail restarts again and again.',
          '{{ $labels.instance }} has started {{ $value }} times in 15 minutes.',
        ),
        alert(
          'KeytailInstanceLagging', 'warning', 60,
          '%s - on (%s) group_left () fleet:keytail_staleness_seconds:min > %g * %s' % [
            q.metric('keytail_staleness_seconds'),
            config.fleetLabels,
            config.instanceLagRatio,
            q.metric('keytail_max_stale_seconds'),
          ],
          'An instance of keytail is behind the others.',
          'The data of {{ $labels.instance }} is {{ $value | humanizeDuration }} older than that of the freshest instance.',
        ),
      ],
    }],
  },
}
