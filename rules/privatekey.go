// SPDX-License-Identifier: Apache-2.0

package rules

import (
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick"
	"github.com/tallystick/tallystick/rule"
)

func privateKeyRules() []rule.Rule {
	return []rule.Rule{readableByOthers(), withoutPassphrase(), sharedKey(), weakKeystorePassphrase()}
}

// atPrivateFiles is atPlaces for files with a private half. A certificate that
// lies in the same file as a key is not told what the key is told.
func atPrivateFiles(s *rule.Subject, judge func(tallystick.Place, *tallystick.FileFacts) (string, tallystick.Severity)) []rule.Hit {
	return atPlaces(s, func(seen *tallystick.Sighting) (string, tallystick.Severity) {
		if seen.File == nil || !seen.File.Private || seen.Role != tallystick.RoleHolds {
			return "", 0
		}
		return judge(seen.Place, seen.File)
	})
}

func readableByOthers() rule.Rule {
	return rule.Rule{
		Name:  "key-readable-by-others",
		Title: "Others can read the private key",
		About: "The file's permissions let accounts beside its owner read the private key, and a copy leaves no trace. It is low when only a group can, or when " +
			"a passphrase protects the key; a group that bears the name of the service that uses the key is meant to. Keys under /usr come " +
			"with packages, so that the whole world has them: they are info until a service uses one.",
		Severity:  tallystick.SeverityHigh,
		Citation:  "NIST SP 800-57 Part 1 Rev. 5 section 6.2.2.3",
		URL:       "https://doi.org/10.6028/NIST.SP.800-57pt1r5",
		Effective: day(2020, time.May, 4),
		Do:        "Run chmod 600 on the file, or 640 with the service's own group; if strangers had accounts here, replace the key.",
		Check: func(s rule.Subject) []rule.Hit {
			return atPrivateFiles(&s, judgeReaders)
		},
	}
}

func judgeReaders(place tallystick.Place, file *tallystick.FileFacts) (string, tallystick.Severity) {
	var readers []string
	severity := tallystick.SeverityLow
	locked := file.Passphrase && !file.WeakPassphrase
	for _, reader := range file.Readers {
		group, isGroup := strings.CutPrefix(reader, "group:")
		switch {
		case isGroup && (locked || isOwnGroup(group, file)):
			continue
		case !isGroup && !locked:
			severity = tallystick.SeverityHigh
		}
		readers = append(readers, reader)
	}
	if readers == nil {
		return "", 0
	}
	evidence := "mode " + file.Mode + ", owner " + file.Owner + ": readable by " + list(readers)
	if isPackaged(place) && len(file.UsedBy) == 0 {
		return evidence + "; it lies where packages put public files", tallystick.SeverityInfo
	}
	return evidence, severity
}

// isOwnGroup says whether letting the group read is the usual way to let
// nobody else read: root's and the owner's own group, the group of the service
// that uses the file, and Debian's group for exactly this.
func isOwnGroup(group string, file *tallystick.FileFacts) bool {
	if group == "root" || group == "ssl-cert" || group == file.Owner {
		return true
	}
	return slices.ContainsFunc(file.UsedBy, func(u tallystick.Usage) bool { return u.Service == group })
}

func withoutPassphrase() rule.Rule {
	return rule.Rule{
		Name:  "key-without-passphrase",
		Title: "A person's private key has no passphrase",
		About: "A private key in a home directory, used by no service, is not encrypted: whoever reads the file, a backup of it or the " +
			"stolen disk has the key. SSH user keys are medium, because they are what intruders look for first.",
		Severity:  tallystick.SeverityLow,
		Citation:  "NIST IR 7966 section 4.3",
		URL:       "https://doi.org/10.6028/NIST.IR.7966",
		Effective: day(2015, time.October, 1),
		Do:        "Set one with ssh-keygen -p -f FILE and keep the key in an agent, or move it to hardware; delete it if nobody needs it.",
		Check: func(s rule.Subject) []rule.Hit {
			return atPrivateFiles(&s, judgePassphrase)
		},
	}
}

func judgePassphrase(place tallystick.Place, file *tallystick.FileFacts) (string, tallystick.Severity) {
	path := place.Path()
	// Clients of Kubernetes cannot ask for a passphrase.
	if file.Passphrase || len(file.UsedBy) > 0 || file.Format == "kubeconfig" || !isHome(path) {
		return "", 0
	}
	if file.Format == "openssh" || strings.Contains(path, "/.ssh/") {
		return "an SSH key without a passphrase, owner " + file.Owner, tallystick.SeverityMedium
	}
	return "a private key without a passphrase, owner " + file.Owner, 0
}

// isHome says whether the path lies in the home directory of a person or of root.
func isHome(path string) bool {
	return strings.HasPrefix(path, "/home/") || strings.HasPrefix(path, "/root/") || strings.HasPrefix(path, "/Users/")
}

func weakKeystorePassphrase() rule.Rule {
	return rule.Rule{
		Name:  "weak-keystore-passphrase",
		Title: "A well-known passphrase opens the keystore",
		About: "The private key is encrypted under an empty passphrase or one that everybody tries first, such as changeit: it is as good as " +
			"not encrypted, and looks as if it were. Keystores without private keys are not meant.",
		Severity:  tallystick.SeverityMedium,
		Citation:  "NIST SP 800-63B-4 section 3.1.1.2",
		URL:       "https://pages.nist.gov/800-63-4/sp800-63b.html",
		Effective: day(2025, time.August, 1),
		Do:        "Set a random passphrase (keytool -storepasswd, openssl pkcs12), and keep it where only the service can read it.",
		Check: func(s rule.Subject) []rule.Hit {
			return atPrivateFiles(&s, func(_ tallystick.Place, file *tallystick.FileFacts) (string, tallystick.Severity) {
				if !file.WeakPassphrase {
					return "", 0
				}
				return strings.TrimSpace("a well-known passphrase opens this "+file.Format) + " file", 0
			})
		},
	}
}
