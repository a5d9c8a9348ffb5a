package instrument

import "github.com/prometheus/client_golang/prometheus"

// Register registers all, and stops at the first error. A nil registerer registers
// nothing.
func Register(registerer prometheus.Registerer, all ...prometheus.Collector) error {
	if registerer == nil {
		return nil
	}
	for _, collector := range all {
		if err := registerer.Register(collector); err != nil {
			return err
		}
	}
	return nil
}
