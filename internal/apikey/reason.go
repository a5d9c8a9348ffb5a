package apikey

// A reason is the part of a check that failed, in a form for programs. The code tells an end user
// what to do; the reason tells the operator what to look at. It names fields and scopes, and
// contains no value of a document. Reasons are for callers that keytail trusts, never for end users.
const (
	// ReasonInactive, of Disabled: the key is switched off.
	ReasonInactive = "inactive"
	// ReasonSharedHash, of Disabled: more than one document has the key's hash.
	ReasonSharedHash = "shared_hash"
	// ReasonUnreadable, of Disabled: the document as a whole cannot be read.
	ReasonUnreadable = "unreadable"
	// ReasonExpired, of Expired: the expiry has come.
	ReasonExpired = "expired"
	// ReasonOrg and ReasonProject, of Forbidden: the key is bound to another one, or the request
	// does not name the one that it must name.
	ReasonOrg     = "org"
	ReasonProject = "project"
	// ReasonIP, of Forbidden: the client's address is unknown, or not in the key's allow-list.
	ReasonIP = "ip"

	// A name follows each of these. Of InsufficientPermissions: the first required scope that the
	// key lacks. Of Disabled: the first field of the document, by its name in the collection, that
	// is absent, that cannot be read in the form that the mapping declares, or that occurs twice.
	ReasonScope     = "scope:"
	ReasonMissing   = "missing:"
	ReasonType      = "type:"
	ReasonDuplicate = "duplicate:"
)

// Reason is why Decide returned code for this record and request, from Disabled on. It is empty for
// Valid, and for the codes before Disabled, which say everything.
func Reason(code Code, r *Record, q *Request) string {
	switch code {
	case Disabled:
		return whyDisabled(r)
	case Expired:
		return ReasonExpired
	case Forbidden:
		return whyForbidden(r, q)
	case InsufficientPermissions:
		return ReasonScope + firstMissing(r.Scopes, q.Scopes)
	case Unavailable, Missing, Malformed, NotFound, Valid:
	}
	return ""
}

// Reason is that of the verdict, which answered the request q.
func (v *Verdict) Reason(q *Request) string {
	if v.Record == nil {
		return ""
	}
	return Reason(v.Code, v.Record, q)
}

// whyDisabled reports the defect first: a document whose switch cannot be read is not active either.
func whyDisabled(r *Record) string {
	switch {
	case r.DefectReason != "":
		return r.DefectReason
	case r.Defect == "" && !r.Active:
		return ReasonInactive
	}
	return ReasonUnreadable
}

func whyForbidden(r *Record, q *Request) string {
	switch {
	case !isBindingMet(r.OrgID, q.OrgID, q.RequireOrg):
		return ReasonOrg
	case !isBindingMet(r.ProjectID, q.ProjectID, q.RequireProject):
		return ReasonProject
	}
	return ReasonIP
}

// firstMissing is the first needed scope that the key does not have.
func firstMissing(held, needed []string) string {
	for _, scope := range needed {
		if !Holds(held, scope) {
			return scope
		}
	}
	return ""
}
