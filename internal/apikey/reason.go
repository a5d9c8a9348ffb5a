package apikey

// Reason is which part of a check failed. The code tells an end user what to do; the reason tells an
// operator where to look. It names fields and scopes, and contains no value of a document. It is for
// callers that keytail trusts, never for end users. The zero value is no reason.
type Reason struct {
	// Kind is one of the constants below. For a defect it is the whole text: Record.DefectReason.
	Kind string
	// Name is the scope or the field, for the kinds that end with a colon.
	Name string
}

// The kinds of reasons.
const (
	// ReasonInactive, of Disabled: the key is switched off.
	ReasonInactive = "inactive"
	// ReasonSharedHash, of Disabled: more than one document has the key's hash.
	ReasonSharedHash = "shared_hash"
	// ReasonUnreadable, of Disabled: the document as a whole cannot be read.
	ReasonUnreadable = "unreadable"
	// ReasonMissing, ReasonType and ReasonDuplicate, of Disabled: the first field of the document
	// that is absent, that cannot be read in the form that the mapping declares, or that occurs
	// twice. The name is that of the collection.
	ReasonMissing   = "missing:"
	ReasonType      = "type:"
	ReasonDuplicate = "duplicate:"
	// ReasonExpired, of Expired: the time of the expiry has come.
	ReasonExpired = "expired"
	// ReasonOrg and ReasonProject, of Forbidden: the key is bound to another one, or the request
	// does not name the one that it must name.
	ReasonOrg     = "org"
	ReasonProject = "project"
	// ReasonIP, of Forbidden: the client's address is unknown, or not in the key's allow-list.
	ReasonIP = "ip"
	// ReasonScope, of InsufficientPermissions: the first required scope that the key lacks.
	ReasonScope = "scope:"
)

// String is the reason on the wire, such as "ip" or "scope:orders:read". Empty: there is none.
func (r Reason) String() string { return r.Kind + r.Name }

// ReasonFor is why Decide returned code for this record and request. It is the zero Reason for Valid
// and for the codes before Disabled, which say everything. It allocates nothing.
func ReasonFor(code Code, r *Record, q *Request) Reason {
	switch code {
	case Disabled:
		return whyDisabled(r)
	case Expired:
		return Reason{Kind: ReasonExpired}
	case Forbidden:
		return Reason{Kind: whyForbidden(r, q)}
	case InsufficientPermissions:
		return Reason{ReasonScope, firstMissing(r.Scopes, q.Scopes)}
	case Unavailable, Missing, Malformed, NotFound, Valid:
	}
	return Reason{}
}

// whyDisabled reports the defect first: a document whose switch cannot be read is not active either.
func whyDisabled(r *Record) Reason {
	switch {
	case r.DefectReason != "":
		return Reason{Kind: r.DefectReason}
	case r.Defect == "" && !r.Active:
		return Reason{Kind: ReasonInactive}
	}
	return Reason{Kind: ReasonUnreadable}
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
