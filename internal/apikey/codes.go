package apikey

// codeNames are the codes on the wire (docs/http.md).
var codeNames = [CodeCount]string{
	Unavailable:             "UNAVAILABLE",
	Missing:                 "MISSING",
	Malformed:               "MALFORMED",
	NotFound:                "NOT_FOUND",
	Disabled:                "DISABLED",
	Expired:                 "EXPIRED",
	Forbidden:               "FORBIDDEN",
	InsufficientPermissions: "INSUFFICIENT_PERMISSIONS",
	Valid:                   "VALID",
}

// String is the code on the wire. An undefined number reads as UNAVAILABLE, like the zero value:
// as an outage, never as a yes or a no.
func (c Code) String() string {
	if int(c) >= CodeCount {
		c = Unavailable
	}
	return codeNames[c]
}

// sourceNames are the sources on the wire and in metrics.
var sourceNames = [SourceCount]string{
	SourceNone:         "",
	SourceCache:        "cache",
	SourceFill:         "fill",
	SourceDirect:       "direct",
	SourceLinearizable: "linearizable",
}

// String is the source on the wire: "" for SourceNone and for an undefined number.
func (s Source) String() string {
	if int(s) >= SourceCount {
		s = SourceNone
	}
	return sourceNames[s]
}
