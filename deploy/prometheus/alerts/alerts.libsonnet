(import 'state.libsonnet') +
(import 'stream.libsonnet') +
(import 'requests.libsonnet') +
(import 'upkeep.libsonnet')
