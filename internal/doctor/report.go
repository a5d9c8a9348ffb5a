package doctor

// Status is the result of a check.
type Status string

// The statuses, from the best to the worst.
const (
	OK Status = "ok"
	// Warning: keytail starts, and something should be improved.
	Warning Status = "warning"
	// ToDo: keytail does not start, or cannot validate keys, until this is done.
	ToDo Status = "to do"
	// NotTried: an earlier check failed. The result is not known.
	NotTried Status = "not tried"
)

// Check is one line of a report.
type Check struct {
	// Name is for scripts and does not change: "index".
	Name   string `json:"name"`
	Status Status `json:"status"`
	// Detail is what was found and, if there is something to do, what. It has
	// names of fields and ids of documents, and no other values.
	Detail string `json:"detail"`
	// More are further lines, such as documents that cannot be read.
	More []string `json:"more,omitempty"`
}

// Report has all checks.
type Report struct {
	// OK: there is nothing to do. There may be warnings.
	OK      bool    `json:"ok"`
	Version string  `json:"version"`
	Checks  []Check `json:"checks"`
}

// add appends a check and reports it to onCheck, if there is one.
func (r *Report) add(c Check, onCheck func(Check)) {
	r.Checks = append(r.Checks, c)
	if onCheck != nil {
		onCheck(c)
	}
	r.OK = r.OK && (c.Status == OK || c.Status == Warning)
}
