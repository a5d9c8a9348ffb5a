// Package coreauth makes the core a Validator of package auth. It is a package because
// the embeddable service, the benchmarks, and the tests of client and keytailtest need
// it, and because neither side can have it: the core must not depend on Gin, which
// package auth does, and no exported function of package auth may have an internal type.
package coreauth

import (
	"context"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/revocation"
	"github.com/keytail/keytail/internal/service"
)

// Validator is an auth.RevocationWatcher.
type Validator struct{ Core *service.Service }

var _ auth.RevocationWatcher = Validator{}

// Validate implements auth.Validator.
func (v Validator) Validate(ctx context.Context, key string, request auth.Request) (auth.Verdict, error) {
	internal := internalRequest(&request)
	verdict := v.Core.Validator.Validate(ctx, key, &internal)
	return publicVerdict(&verdict)
}

// Mark implements auth.RevocationWatcher.
func (v Validator) Mark() uint64 { return v.Core.Watches.Mark() }

// Watch implements auth.RevocationWatcher.
func (v Validator) Watch(request auth.WatchRequest) auth.Watch {
	return v.Core.Watches.Add(revocation.Entry(request))
}
