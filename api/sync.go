package api

// SyncResult reports whether instances have applied all changes up to a
// revision: the body of PathSync, and a part of a write's body if the write had
// wait=.
type SyncResult struct {
	// Synced is true if all Instances have.
	Synced bool `json:"synced"`
	// Instances are those that were waited for.
	Instances []Instance `json:"instances"`
	// Missing are the ids of the instances that have not.
	Missing []string `json:"missing"`
}

// Instance is one instance of the fleet.
type Instance struct {
	ID string `json:"id"`
	// Version and StalenessMS are absent in a SyncResult.
	Version string `json:"version,omitempty"`
	// Revision is null until the instance has reported how far it is.
	Revision    *string   `json:"revision"`
	StalenessMS *int64    `json:"staleness_ms,omitempty"`
	LastSeen    Timestamp `json:"last_seen"`
}

// InstanceList is the body of PathInstances.
type InstanceList struct {
	Instances []Instance `json:"instances"`
}
