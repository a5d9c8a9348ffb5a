package coreauth

import (
	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
)

// internalRequest converts a request to its internal form.
func internalRequest(r *auth.Request) apikey.Request {
	return apikey.Request{
		Scopes: r.Scopes, OrgID: r.OrgID, ProjectID: r.ProjectID, RequireOrg: r.RequireOrg, RequireProject: r.RequireProject,
		IP: r.IP, MinRevision: uint64(r.MinRevision),
	}
}

// publicVerdict converts a verdict to its public form, with the error of an
// auth.Validator. The record is shared and not copied: an auth.Key has the fields of a
// Record, which the compiler checks.
func publicVerdict(v *apikey.Verdict) (auth.Verdict, error) {
	verdict := auth.Verdict{
		Code:      auth.Code(v.Code.String()),
		Reason:    v.Reason.String(),
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
