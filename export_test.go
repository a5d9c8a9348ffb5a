package keytail

import "context"

// FlushUsage writes down the use of keys now, so that tests need not wait for the
// interval.
func (s *Service) FlushUsage(ctx context.Context) error { return s.usage.Flush(ctx) }

// TracksUsage reports whether the use of keys is written down at all.
func (s *Service) TracksUsage() bool { return s.usage != nil }
