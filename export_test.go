package keytail

import (
	"context"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/routes"
)

// Judge is Validate in internal words.
func (s *Service) Judge(ctx context.Context, text string, request *apikey.Request) apikey.Verdict {
	return s.validator.Validate(ctx, text, request)
}

// FlushUsage writes down the use of keys now, so that tests need not wait for the
// interval.
func (s *Service) FlushUsage(ctx context.Context) error { return s.usage.Flush(ctx) }

// TracksUsage reports whether the use of keys is written down at all.
func (s *Service) TracksUsage() bool { return s.usage != nil }

// Syncer and Events are what the public listener asks.
func (s *Service) Syncer() routes.Syncer { return syncer{s.sink.fleet} }

// Events are what the public listener streams.
func (s *Service) Events() routes.Events { return feed{s.sink.events} }

// WatchCount returns the number of watched keys.
func (s *Service) WatchCount() int { return s.sink.watches.Watching() }
