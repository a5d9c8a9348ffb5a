package cli

import (
	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/decisionlog"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/preload"
	"github.com/keytail/keytail/internal/service"
)

// daemonConfig is the configuration of package daemon by the settings of serve.
func daemonConfig(cfg *config.Config, to database, version string) (daemon.Config, error) {
	secret, err := hashSecret(cfg)
	if err != nil {
		return daemon.Config{}, err
	}
	preference, err := to.ReadPreference(cfg.ReadPreference)
	if err != nil {
		return daemon.Config{}, err
	}
	usage := service.UsageWrite
	if !cfg.TrackUsage {
		usage = service.UsageOff
	}
	return daemon.Config{
		Config: service.Config{
			Client:            to.client,
			Database:          cfg.Database,
			Schema:            schemaOf(cfg),
			HashSecret:        secret,
			EnsureSchema:      cfg.EnsureSchema,
			StreamScope:       changestream.Scope(cfg.StreamScope),
			StateDatabase:     cfg.StateDatabase,
			MaxStale:          cfg.MaxStale,
			HeartbeatInterval: cfg.HeartbeatInterval,
			ReadPreference:    preference,
			MaxReads:          to.MaxReads,
			CacheSizeMiB:      cfg.CacheSize,
			Preload:           preload.Mode(cfg.Preload),
			AuditInterval:     cfg.AuditInterval,
			ExpiryNotice:      cfg.ExpiryNotice,
			KeyPrefix:         cfg.KeyPrefix,
			RequireBinding:    cfg.RequireBinding,
			Usage:             usage,
			UsageInterval:     cfg.UsageInterval,
			Version:           version,
		},
		KeySources:     cfg.KeySources,
		TrustedProxies: cfg.TrustedProxies,
		AuthHeaders:    cfg.AuthHeaders,

		AuthCallerNetworks:  cfg.AuthCallerNetworks,
		TraceCallerNetworks: cfg.TraceCallerNetworks,

		DisableForwardAuth: !cfg.ForwardAuth,

		Policies:        policies(cfg.Policies),
		HideCredentials: cfg.HideCredentials,
		GRPCReflection:  cfg.GRPCReflection,
		CallerTokenFile: cfg.CallerTokenFile,
		AdminTokenFile:  cfg.AdminTokenFile,
		Members:         to.Members,
		DecisionLog: decisionlog.Config{
			Path: cfg.DecisionLog, AcceptRatio: cfg.DecisionLogAccepts, Mask: cfg.DecisionLogMask,
		},

		AdminCertificates: hasAdminCertificates(cfg),
		AdminAuditReads:   cfg.AdminAuditReads,
	}, nil
}

// policies are those of the configuration for forward-auth.
func policies(of map[string]config.Policy) map[string]forwardauth.Policy {
	all := make(map[string]forwardauth.Policy, len(of))
	for name, policy := range of {
		all[name] = forwardauth.Policy(policy)
	}
	return all
}
