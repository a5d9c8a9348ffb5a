package propose

import (
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keystore"
)

// Status is how far a role could be proposed.
type Status string

// The statuses of a role.
const (
	// Found: a field was found, or it was seen that the role needs none.
	Found Status = "found"
	// Absent: no document has a field for this optional role.
	Absent Status = "none"
	// Missing: no field was found for a role that needs one.
	Missing Status = "not found"
	// Unreadable: there is a field, but keytail cannot read what it holds. It is
	// proposed nevertheless, so that such keys are refused rather than accepted.
	Unreadable Status = "not readable"
	// Undecided: there is a field, but another one decides for some documents.
	Undecided Status = "not enough"
)

// Setting is one key of the YAML file with its value.
type Setting struct{ Key, Value string }

// Role is what is proposed for one role.
type Role struct {
	// Name is the role in words, Key the setting of its field in the YAML file.
	Name, Key string
	Status    Status
	// Field is the name of the field. Empty: none.
	Field string
	// Forms are the other settings of the role that differ from their defaults.
	Forms []Setting
	// Seen is what the guess is based on, in half-sentences: small letters, no full
	// stop.
	Seen []string
}

// open reports whether a person has something to do before keytail can start, or
// before its answers are right.
func (r *Role) open() bool {
	return r.Status == Missing || r.Status == Unreadable || r.Status == Undecided
}

// Proposal is a mapping with the reasons for it.
type Proposal struct {
	// Database and Collection are those that were read.
	Database, Collection string
	// Documents is how many documents were read, Total how many there are by the
	// collection's metadata.
	Documents int
	Total     int64
	// Basis says which documents were read.
	Basis string
	// Roles are in the order of the file.
	Roles []Role
	// Warnings are sentences about what a person must know.
	Warnings []string
	// Known is what was found out with a known key. Nil: none was given.
	Known *Known
}

// OK reports whether nothing is open: every required role has a field, each field
// can be read, and a known key, if one was given, got the expected verdict.
func (p *Proposal) OK() bool {
	for i := range p.Roles {
		if p.Roles[i].open() {
			return false
		}
	}
	return p.Documents > 0 && (p.Known == nil || p.Known.OK)
}

// role returns the proposal for a setting, which must be that of a role.
func (p *Proposal) role(key string) *Role {
	for i := range p.Roles {
		if p.Roles[i].Key == key {
			return &p.Roles[i]
		}
	}
	panic("propose: there is no role " + key)
}

// form returns a setting of a role, or its zero value.
func (r *Role) form(key string) string {
	for _, s := range r.Forms {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// Schema is the proposed mapping. A role without a field has an empty name.
func (p *Proposal) Schema() keystore.Schema {
	field := func(key string) string { return p.role(key).Field }
	form := func(key, form string) string { return p.role(key).form(form) }
	return keystore.Schema{
		Collection:    p.Collection,
		Hash:          field("map_hash"),
		HashAlgorithm: apikey.HashAlgorithm(form("map_hash", "map_hash_algorithm")),
		HashEncoding:  keystore.HashEncoding(form("map_hash", "map_hash_encoding")),
		HashAfter:     form("map_hash", "map_hash_after"),
		Active:        field("map_active"),
		ActiveForm:    keystore.ActiveForm(form("map_active", "map_active_form")),
		UserID:        field("map_user_id"),
		UserIDForm:    keystore.IDForm(form("map_user_id", "map_user_id_form")),
		OrgID:         field("map_org_id"),
		OrgIDForm:     keystore.IDForm(form("map_org_id", "map_org_id_form")),
		ProjectID:     field("map_project_id"),
		ProjectIDForm: keystore.IDForm(form("map_project_id", "map_project_id_form")),
		Name:          field("map_name"),
		Scopes:        field("map_scopes"),
		ScopesForm:    keystore.ScopesForm(form("map_scopes", "map_scopes_form")),
		AllowedIPs:    field("map_allowed_ips"),
		ExpiresAt:     field("map_expires_at"),
		ExpiresForm:   keystore.ExpiresForm(form("map_expires_at", "map_expires_form")),
		Metadata:      field("map_metadata"),
		KeyPrefix:     field("map_key_prefix"),
		CreatedAt:     field("map_created_at"),
		LastUsed:      field("map_last_used"),
		UsageCount:    field("map_usage_count"),
	}
}
