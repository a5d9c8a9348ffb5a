package keytail

import "regexp"

// fieldNames are the fields of Config and Mapping that the core names by the
// daemon's flags in errors and log lines.
var fieldNames = map[string]string{
	"--audit-interval":     "Config.AuditInterval",
	"--cache-size":         "Config.CacheSizeMiB",
	"--default-scopes":     "Config.DefaultScopes",
	"--ensure-schema":      "Config.EnsureSchema",
	"--expiry-notice":      "Config.ExpiryNotice",
	"--heartbeat-interval": "Config.HeartbeatInterval",
	"--key-prefix":         "Config.KeyPrefix",
	"--max-stale":          "Config.MaxStale",
	"--mongodb-uri":        "the connection string",
	"--preload":            "Config.Preload",
	"--read-preference":    "Config.ReadPreference",
	"--require-binding":    "Config.RequireBinding",
	"--state-database":     "Config.StateDatabase",
	"--stream-scope":       "Config.StreamScope",
	"--track-usage":        "Config.Usage",
	"--track-usage=false":  "Config.Usage to UsageOff",

	"--map-active":           "Mapping.Active",
	"--map-active-form":      "Mapping.ActiveForm",
	"--map-allowed-ips":      "Mapping.AllowedIPs",
	"--map-created-at":       "Mapping.CreatedAt",
	"--map-expires-at":       "Mapping.ExpiresAt",
	"--map-expires-form":     "Mapping.ExpiresForm",
	"--map-hash":             "Mapping.Hash",
	"--map-hash-after":       "Mapping.HashAfter",
	"--map-hash-algorithm":   "Mapping.HashAlgorithm",
	"--map-hash-encoding":    "Mapping.HashEncoding",
	"--map-hash-secret-file": "Config.HashSecret",
	"--map-key-prefix":       "Mapping.KeyPrefix",
	"--map-last-used":        "Mapping.LastUsed",
	"--map-metadata":         "Mapping.Metadata",
	"--map-name":             "Mapping.Name",
	"--map-org-id":           "Mapping.OrgID",
	"--map-org-id-form":      "Mapping.OrgIDForm",
	"--map-project-id":       "Mapping.ProjectID",
	"--map-project-id-form":  "Mapping.ProjectIDForm",
	"--map-scopes":           "Mapping.Scopes",
	"--map-scopes-form":      "Mapping.ScopesForm",
	"--map-usage-count":      "Mapping.UsageCount",
	"--map-user-id":          "Mapping.UserID",
	"--map-user-id-form":     "Mapping.UserIDForm",
}

var flag = regexp.MustCompile(`--[a-z]+(-[a-z]+)*(=false)?`)

// inFieldNames replaces flags of the daemon by fields of Config: a program that
// embeds a Service has no flags.
func inFieldNames(text string) string {
	return flag.ReplaceAllStringFunc(text, func(name string) string {
		if field, ok := fieldNames[name]; ok {
			return field
		}
		return name
	})
}

// fieldError is an error of the core with field names in its text.
type fieldError struct{ error }

func (e fieldError) Error() string { return inFieldNames(e.error.Error()) }

func (e fieldError) Unwrap() error { return e.error }

// inFields is err with field names in its text, nil if err is nil.
func inFields(err error) error {
	if err == nil {
		return nil
	}
	return fieldError{err}
}
