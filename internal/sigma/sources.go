// SPDX-License-Identifier: Apache-2.0

package sigma

import (
	"cmp"
	"strings"

	"github.com/tallystick/tallystick"
)

// sourcesOfFormat says what the records of a format of package uses are events of.
func sourcesOfFormat(format string) []LogSource {
	switch format {
	case "entra-signin", "entra-signin-diagnostic", "entra-signin-la":
		return []LogSource{{Product: "azure", Service: "signinlogs"}}
	case "entra-audit", "entra-audit-diagnostic", "entra-audit-la":
		return []LogSource{{Product: "azure", Service: "auditlogs"}}
	case "unified-audit", "office-activity":
		return []LogSource{{Product: "m365", Service: "audit"}}
	case "cloudtrail":
		return []LogSource{{Product: "aws", Service: "cloudtrail"}}
	case "windows-json", "windows-xml", "windows-evtx", "windows":
		return []LogSource{{Product: "windows", Service: "security"}}
	case "openssh":
		return []LogSource{{Product: "linux", Service: "sshd"}, {Product: "linux", Service: "auth"}}
	case "nginx", "haproxy":
		return []LogSource{{Category: "webserver", Product: format, Service: format}}
	case "zeek-json", "zeek-tsv", "zeek":
		return []LogSource{{Product: "zeek", Service: "ssl"}}
	}
	return nil
}

// sourcesOfUse says it of a use: by the name that its reader gave to the book, or
// by what the use shows, for a source has the name that people gave it, and its
// format may be one that was recognised.
func sourcesOfUse(u *tallystick.Use) []LogSource {
	name, _, _ := strings.Cut(u.Source, ":")
	if name == "entra" {
		name = "entra-signin"
	}
	if known := sourcesOfFormat(name); known != nil {
		return known
	}
	return sourcesOfFormat(formatOfUse(u))
}

func formatOfUse(u *tallystick.Use) string {
	if u.Operation == "5061" && u.Side == tallystick.SideHolder {
		return "windows"
	}
	if u.Side != tallystick.SideRelying {
		return ""
	}
	switch kind, rest, _ := strings.Cut(u.RelyingParty, ":"); {
	case kind == "entra" && u.Level == tallystick.LevelToken:
		return "entra-signin"
	case kind == "entra" && strings.HasSuffix(rest, "/00000002-0000-0ff1-ce00-000000000000"): // Exchange Online's own id
		return "unified-audit"
	case kind == "aws":
		return "cloudtrail"
	case kind == "kerberos" && (u.Operation == "4768" || u.Operation == "4769"):
		return "windows"
	case kind == "ssh":
		return "openssh"
	case kind == "https" && requestLine(u.Operation) != nil:
		return "nginx"
	case kind == "https" && u.Operation == "" && u.IDs.Session != "" && u.IDs.Session == u.ID:
		return "zeek"
	}
	return ""
}

// sourcesOf finds out what a record is an event of, and adds the members that
// stand in others.
func sourcesOf(r *Record, format string) []LogSource {
	sources := sourcesOfFormat(format)
	if sources == nil || strings.HasPrefix(format, "entra-") { // a tenant's categories stand side by side
		if found := sourcesByMembers(r); found != nil {
			sources = found
		}
	}
	for _, s := range sources {
		switch {
		case s.Product == "windows":
			r.flat()
		case s.Product == "m365":
			sources = append(sources, r.audit()...)
		case s.Category == "webserver":
			r.web()
		case s.Product == "zeek" && r.first("_path") != "":
			return []LogSource{{Product: "zeek", Service: r.first("_path")}}
		}
	}
	return sources
}

// first returns the first value of a field.
func (r *Record) first(name string) string {
	if values := r.fields[name]; len(values) > 0 {
		return values[0]
	}
	return ""
}

// has says whether all of the members are there.
func (r *Record) has(names ...string) bool {
	for _, name := range names {
		if _, ok := r.fields[name]; !ok {
			return false
		}
	}
	return true
}

// sourcesByMembers recognises the records that say nothing of uses, and so have
// no format of their own.
func sourcesByMembers(r *Record) []LogSource {
	azure := func(service string) []LogSource { return []LogSource{{Product: "azure", Service: service}} }
	category := r.first("category")
	switch {
	case category == "AuditLogs" || r.has("activitydisplayname", "initiatedby.user.id") || r.has("activitydisplayname", "activitydatetime") || r.has("activitydisplayname", "loggedbyservice"):
		return azure("auditlogs")
	case category == "UserRiskEvents" || category == "ServicePrincipalRiskEvents":
		return append(azure("riskdetection"), azure("pim")...)
	case strings.HasSuffix(category, "SignInLogs"):
		return azure("signinlogs")
	case r.has("riskeventtype") && (r.has("detecteddatetime") || r.has("risklevel")) || r.has("riskeventtype") && r.has("activitydatetime"):
		return append(azure("riskdetection"), azure("pim")...)
	case r.has("operationnamevalue") || r.has("operationname", "resourceid") && (r.has("caller") || category == "Administrative" || r.has("identity.claims.name")) || r.has("operationname.value"):
		return azure("activitylogs")
	case r.has("eventtime", "eventsource", "eventname"):
		return sourcesOfFormat("cloudtrail")
	case r.has("creationtime", "operation", "workload") || r.has("auditdata", "operations"):
		return sourcesOfFormat("unified-audit")
	case r.has("createddatetime", "appid", "status.errorcode") || r.has("resulttype", "appid", "userprincipalname"):
		return azure("signinlogs")
	case r.has("_path", "ts"):
		return []LogSource{{Product: "zeek", Service: r.first("_path")}}
	case r.has("ts", "verify", "req"):
		return sourcesOfFormat("nginx")
	}
	return nil
}

// audit says which services' rules are about a record of the unified audit log too.
func (r *Record) audit() []LogSource {
	workload := cmp.Or(r.first("workload"), r.first("auditdata.workload"), r.first("officeworkload"))
	switch strings.ToLower(workload) {
	case "exchange":
		return []LogSource{{Product: "m365", Service: "exchange"}}
	case "securitycompliancecenter", "threatintelligence", "cloudappsecurity":
		return []LogSource{{Product: "m365", Service: "threat_management"}, {Product: "m365", Service: "threat_detection"}}
	}
	return nil
}

// web adds the parts of the request, under the names that useMember has too.
func (r *Record) web() {
	for name, value := range requestLine(r.first("req")) {
		r.fields[name] = []string{value}
	}
	for _, name := range []string{"remote", "client"} {
		if address := r.first(name); address != "" {
			if i := strings.LastIndexByte(address, ':'); i > 0 && (strings.Count(address, ":") == 1 || strings.HasPrefix(address, "[")) {
				address = address[:i]
			}
			r.fields["remote_address"] = []string{strings.Trim(address, "[]")}
		}
	}
}
