package daemon

import (
	"context"

	"github.com/keytail/keytail/internal/doctor"
)

// Examine checks whether a daemon of this configuration fits the database, and calls
// see (nil: not called) after each check. It starts nothing. The error is a mistake
// in the configuration, as New would report it.
func Examine(ctx context.Context, config Config, see func(doctor.Check)) (doctor.Report, error) {
	version := config.Version // without a default: the report shows none
	d, err := wire(&config)
	if err != nil {
		return doctor.Report{}, err
	}
	c := doctor.Config{
		Store:        d.Core.Store,
		Heartbeats:   d.Core.Heartbeater,
		Stream:       d.Core.Tail,
		EnsureSchema: config.EnsureSchema,
		Lists:        d.settings.admins != nil,
		CacheSizeMiB: config.CacheSizeMiB,
		Preload:      config.Preload,
		Version:      version,
	}
	if d.Core.Usage != nil {
		c.Usage = d.Core.Usage
	}
	return doctor.Examine(ctx, c, see), nil
}
