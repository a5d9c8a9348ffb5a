// The parts that expressions have in common.
function(config) {
  local format(seconds) = if seconds % 3600 == 0 then '%dh' % (seconds / 3600)
  else if seconds % 60 == 0 then '%dm' % (seconds / 60)
  else '%ds' % seconds,

  // wait is a `for`. 0: none.
  wait(seconds):: if seconds == 0 then null else format(std.max(1, std.floor(seconds / config.timesDividedBy))),
  // range is that of a rate. Four seconds have at least two scrapes in a rehearsal.
  range(seconds):: '[%s]' % format(std.max(4, std.floor(seconds / config.timesDividedBy))),

  // metric selects series of keytail.
  metric(name, matchers='')::
    local all = std.join(',', std.filter(function(m) m != '', [config.selector, matchers]));
    if all == '' then name else '%s{%s}' % [name, all],
  // shared selects series of metrics that other programs have, too.
  shared(name):: '%s{%s}' % [name, config.jobSelector],
  rate(name, matchers, seconds):: 'rate(%s%s)' % [self.metric(name, matchers), self.range(seconds)],
  increase(name, matchers, seconds):: 'increase(%s%s)' % [self.metric(name, matchers), self.range(seconds)],

  // Prometheus has the classic form of a histogram, the native one, or both. Of what it
  // does not have, the selection is empty.
  quantile(q, name, matchers, drop, seconds):: |||
    histogram_quantile(%(q)s, sum without (%(drop)s) (%(classic)s))
    or
    histogram_quantile(%(q)s, sum without (%(drop)s) (%(native)s))
  ||| % {
    q: q,
    drop: drop,
    classic: $.rate(name + '_bucket', matchers, seconds),
    native: $.rate(name, matchers, seconds),
  },
  observations(name, matchers, seconds):: '(%s or histogram_count(%s))' % [
    self.rate(name + '_count', matchers, seconds),
    self.rate(name, matchers, seconds),
  ],
}
