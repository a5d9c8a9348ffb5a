package keytail

import (
	"errors"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// registrations is a Registerer that can take back what it has registered. Without
// it, a program that calls New again after an error, or creates a new Service after
// Run has returned, could not use its Registerer a second time.
type registrations struct {
	prometheus.Registerer

	mutex      sync.Mutex
	registered []prometheus.Collector
}

// newRegistrations registers in r, or nowhere if r is nil.
func newRegistrations(r prometheus.Registerer) *registrations {
	if r == nil {
		r = prometheus.NewRegistry()
	}
	return &registrations{Registerer: r}
}

// Register is that of the program's Registerer.
func (r *registrations) Register(c prometheus.Collector) error {
	if err := r.Registerer.Register(c); err != nil {
		if _, twice := errors.AsType[prometheus.AlreadyRegisteredError](err); twice {
			return fmt.Errorf("%w: Config.Registerer has the metrics of another Service: use another Registerer, or prometheus.WrapRegistererWith with a label for each", err)
		}
		return err
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.registered = append(r.registered, c)
	return nil
}

// MustRegister panics where Register has an error.
func (r *registrations) MustRegister(collectors ...prometheus.Collector) {
	for _, c := range collectors {
		if err := r.Register(c); err != nil {
			panic(err)
		}
	}
}

// unregister takes everything back.
func (r *registrations) unregister() {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, c := range r.registered {
		r.Unregister(c)
	}
	r.registered = nil
}
