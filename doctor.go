package keytail

import (
	"context"

	"github.com/keytail/keytail/internal/doctor"
	"github.com/keytail/keytail/internal/preload"
)

// Examine looks whether a Service of this configuration would fit the database,
// check by check, and calls see (nil: nobody) after each. It starts nothing. The
// error is a mistake in the configuration, as New would report it.
func Examine(ctx context.Context, config Config, see func(doctor.Check)) (doctor.Report, error) {
	p, err := newParts(config)
	if err != nil {
		return doctor.Report{}, err
	}
	c := doctor.Config{
		Store:        p.store,
		Heartbeats:   p.heart,
		Stream:       p.tail,
		EnsureSchema: config.EnsureSchema,
		Lists:        p.admins != nil,
		CacheSizeMiB: config.CacheSizeMiB,
		Preload:      preload.Mode(config.Preload),
		Version:      config.Version,
	}
	if p.usage != nil {
		c.Usage = p.usage
	}
	return doctor.Examine(ctx, c, see), nil
}
