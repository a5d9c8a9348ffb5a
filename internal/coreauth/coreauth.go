// Package coreauth makes the core a validator of package auth: it converts requests
// and verdicts between the internal and the public types. The root package embeds it;
// tests use it to compare a daemon with an embedded service on the same core.
package coreauth

import (
	"context"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/outward"
	"github.com/keytail/keytail/internal/service"
)

// Validator validates with a core.
type Validator struct{ Core *service.Service }

var _ auth.Validator = Validator{}

// Validate implements auth.Validator.
func (v Validator) Validate(ctx context.Context, key string, request auth.Request) (auth.Verdict, error) {
	in := outward.Request(&request)
	verdict := v.Core.Validator.Validate(ctx, key, &in)
	return outward.Verdict(&verdict)
}

// Watches notify the middleware when a key is revoked.
func (v Validator) Watches() *auth.Watches { return v.Core.Watches }
