// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"strings"

	"github.com/tallystick/tallystick"
)

// Keys that were read or left the host. Whoever has the token-signing key of AD
// FS signs in to a tenant as anybody. The service keeps that key in its
// configuration database, encrypted under a key (DKM) that is an attribute of a
// contact object in Active Directory: a thief reads the first on the AD FS host
// or by its replication, and the second from a domain controller.
//
// Windows' own records of key operations (5058, 5061) are written for every TLS
// handshake and every token, so that they are uses and no changes.

const (
	// The schema's identifiers of class contact and of attribute thumbnailPhoto
	// ([MS-ADSC] and [MS-ADA3]).
	contactClass   = "5cb41ed0-0e4c-11d0-a286-00aa003049e2"
	thumbnailPhoto = "8d3bca50-1d7e-11d0-a081-00aa006c33ed"
	// The right to replicate secrets ([MS-ADTS] section 5.1.3.2.1).
	replicateAll = "1131f6ad-9c07-11d1-f79f-00c04fc2dcd2"
)

// keyChanges reads events about keys that were read or exported.
func (f windowsFields) keyChanges(event, computer string) []*tallystick.Change {
	host := strings.ToLower(computer)
	switch event {
	case "4662":
		return f.secretRead(host)
	case "33205":
		return f.databaseRead(host)
	case "412":
		// Servers of a farm copy the configuration with such a token; so does who
		// has the service's password hash.
		if !strings.Contains(f.text(), "SecureConversation") {
			return nil
		}
		return []*tallystick.Change{{Kind: tallystick.ChangeKeyRead, Target: "adfs:" + host + "/synchronisation", TargetName: computer,
			Detail: "a caller was let in to the service that copies the AD FS configuration"}}
	case "307":
		if !strings.Contains(strings.ToLower(f.first("sourcename", "provider", "eventsourcename", "source", "channel")), "ad fs") {
			return nil
		}
		return []*tallystick.Change{{Kind: tallystick.ChangeSetting, Target: "adfs:" + host + "/configuration", TargetName: computer, Detail: "the AD FS configuration was changed"}}
	case "1007":
		return f.certificateExport(host)
	case "5059":
		return f.keyExport(host)
	}
	return nil
}

// text is everything that an event says in no field of its own.
func (f windowsFields) text() string {
	var all []string
	for _, name := range []string{"eventdata_dynamic", "eventdata_string", "parameterxml", "rendereddescription", "message", "data", "param1"} {
		if value := f[name]; value != "" {
			all = append(all, value)
		}
	}
	return strings.Join(all, " ")
}

// secretRead reads 4662: somebody looked at an object of the directory. Domain
// controllers replicate all day, and their names end in "$".
func (f windowsFields) secretRead(host string) []*tallystick.Change {
	properties, class := strings.ToLower(f.first("properties")), strings.ToLower(f.first("objecttype"))
	domain := strings.ToLower(f.first("subjectdomainname"))
	if _, rest, ok := strings.Cut(host, "."); ok {
		domain = rest
	}
	switch {
	case strings.Contains(class, contactClass) && strings.Contains(properties, thumbnailPhoto):
		object := strings.ToLower(strings.Trim(f.first("objectname"), "%{}"))
		return []*tallystick.Change{{Kind: tallystick.ChangeKeyRead, Target: "ad:" + domain + "/" + object, TargetName: "the AD FS key (DKM) in " + domain,
			Detail: "the picture of a contact was read, in which AD FS keeps the key of its signing key"}}
	case strings.Contains(properties, replicateAll) && !strings.HasSuffix(f.first("subjectusername"), "$"):
		return []*tallystick.Change{{Kind: tallystick.ChangeKeyRead, Target: "ad:" + domain + "/replication", TargetName: "all passwords of " + domain,
			Detail: "all secrets of the domain were replicated"}}
	}
	return nil
}

// databaseRead reads 33205 of SQL Server, when audit is on for the table that
// holds the signing keys of AD FS.
func (f windowsFields) databaseRead(host string) []*tallystick.Change {
	text := f.text()
	if !strings.Contains(text, "object_name:ServiceSettings") || !strings.Contains(text, "AdfsConfiguration") {
		return nil
	}
	c := &tallystick.Change{Kind: tallystick.ChangeKeyRead, Target: "adfs:" + host + "/configuration", TargetName: f.first("computer", "hostname"),
		Detail: "the table with the signing keys of AD FS was read", Failed: strings.Contains(text, "succeeded:false")}
	if domain, user, ok := strings.Cut(word(text, "server_principal_name:"), `\`); ok {
		c.Actor, c.ActorKind = windowsAccount(domain, user), "user"
	}
	return []*tallystick.Change{c}
}

// word returns what stands behind a label up to the next blank.
func word(text, label string) string {
	_, rest, _ := strings.Cut(text, " "+label)
	value, _, _ := strings.Cut(rest, " ")
	return value
}

// certificateExport reads 1007 of CertificateServicesClient-Lifecycle.
func (f windowsFields) certificateExport(host string) []*tallystick.Change {
	thumbprint := f.first("thumbprint")
	if len(thumbprint) != 40 {
		return nil
	}
	name := thumbprintName(thumbprint)
	c := &tallystick.Change{Kind: tallystick.ChangeKeyExported, Target: "host:" + host + "/" + name, TargetName: f.first("subjectname"),
		Credential: []string{name}, Agent: f.first("processname"), Detail: "a certificate was exported, perhaps with its key"}
	if domain, user, ok := strings.Cut(f.first("accountname"), `\`); ok {
		c.Actor, c.ActorKind = windowsAccount(domain, user), "user"
	}
	return []*tallystick.Change{c}
}

// keyExport reads 5059, "key migration operation": an export of a stored key of
// the machine. Keys of users are exported all day, by browsers for one.
func (f windowsFields) keyExport(host string) []*tallystick.Change {
	name, operation, kind := f.first("keyname"), strings.ToLower(f.first("operation")), strings.ToLower(f.first("keytype"))
	if name == "" || operation != "%%2464" && !strings.Contains(operation, "export") || kind != "%%2499" && !strings.Contains(kind, "machine") {
		return nil
	}
	return []*tallystick.Change{{Kind: tallystick.ChangeKeyExported, Target: "host:" + host + "/" + strings.ToLower(name), TargetName: name,
		Credential: []string{"windows-key:" + host + "/" + name}, Detail: "a key was exported", Failed: f.first("returncode") != "" && f.first("returncode") != "0x0"}}
}
