// Package authvalidator makes internal/validator a Validator of package auth. It is a
// package because the embeddable service, the benchmarks and the tests of package client
// need it, and because neither side can have it: internal/validator must not depend on
// Gin, which package auth does, and no exported function of package auth may have an
// internal type.
package authvalidator

import (
	"context"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/revocation"
	"github.com/keytail/keytail/internal/validator"
)

// Validator is an auth.RevocationWatcher.
type Validator struct {
	// Core validates keys.
	Core *validator.Validator
	// Watches gets the changes that Core sees, after Core.
	Watches *revocation.Watches
}

var _ auth.RevocationWatcher = Validator{}

// Validate implements auth.Validator.
func (v Validator) Validate(ctx context.Context, key string, request auth.Request) (auth.Verdict, error) {
	internal := internalRequest(&request)
	verdict := v.Core.Validate(ctx, key, &internal)
	return publicVerdict(&verdict)
}

// Mark implements auth.RevocationWatcher.
func (v Validator) Mark() uint64 { return v.Watches.Mark() }

// Watch implements auth.RevocationWatcher.
func (v Validator) Watch(request auth.WatchRequest) auth.Watch {
	return v.Watches.Add(revocation.Entry(request))
}

// internalRequest converts a request to its internal form.
func internalRequest(r *auth.Request) apikey.Request {
	return apikey.Request{Scopes: r.Scopes, OrgID: r.OrgID, ProjectID: r.ProjectID, IP: r.IP, MinRevision: uint64(r.MinRevision)}
}

// publicVerdict converts a verdict to its public form, with the error of an
// auth.Validator. The record is shared and not copied: an auth.Key has the fields of a
// Record, which the compiler checks.
func publicVerdict(v *apikey.Verdict) (auth.Verdict, error) {
	verdict := auth.Verdict{
		Code:      auth.Code(v.Code.String()),
		Key:       (*auth.Key)(v.Record),
		Source:    auth.Source(v.Source.String()),
		AsOf:      v.AsOf,
		Staleness: v.Staleness,
		Revision:  auth.Revision(v.Revision),
	}
	switch {
	case v.Problem == apikey.RevisionAhead:
		return verdict, auth.ErrRevisionAhead
	case verdict.Code == auth.Unavailable:
		return verdict, auth.ErrUnavailable
	}
	return verdict, nil
}
