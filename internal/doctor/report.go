package doctor

// Status says how a check went.
type Status string

// The statuses. Those of a report are ordered by how much they ask for.
const (
	OK Status = "ok"
	// Warning: keytail starts, and something is worth a look.
	Warning Status = "warning"
	// ToDo: keytail does not start, or could answer for nothing, before this is
	// done.
	ToDo Status = "to do"
	// NotTried: an earlier check stands in the way. It is never good news.
	NotTried Status = "not tried"
)

// Check is one line of a report.
type Check struct {
	// Name is a word for scripts, which does not change: "index".
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Detail is a sentence: what was found and, where there is something to do,
	// what. It has names of fields and ids of documents, and no other value.
	Detail string `json:"detail"`
	// More are further lines, such as the documents that cannot be read.
	More []string `json:"more,omitempty"`
}

// Report is all that was found.
type Report struct {
	// OK: there is nothing to do. Warnings may be left.
	OK      bool    `json:"ok"`
	Version string  `json:"version"`
	Checks  []Check `json:"checks"`
}

// add appends a check and tells who watches.
func (r *Report) add(c Check, see func(Check)) {
	r.Checks = append(r.Checks, c)
	if see != nil {
		see(c)
	}
	r.OK = r.OK && (c.Status == OK || c.Status == Warning)
}
