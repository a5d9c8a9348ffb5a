// Package outward puts internal verdicts into the words of package auth, which
// other modules see.
package outward

import (
	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
)

// Request is the internal form of a request.
func Request(r *auth.Request) apikey.Request {
	return apikey.Request{Scopes: r.Scopes, OrgID: r.OrgID, ProjectID: r.ProjectID, IP: r.IP, MinRevision: uint64(r.MinRevision)}
}

// Verdict is the public form of a verdict. The record is shared and not copied:
// an auth.Key is a Record by another name, which the compiler checks.
func Verdict(v *apikey.Verdict) (auth.Verdict, error) {
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
