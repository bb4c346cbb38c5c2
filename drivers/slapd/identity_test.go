// SPDX-License-Identifier: Apache-2.0

package slapd

import "testing"

func TestApplyRule(t *testing.T) {
	for _, row := range []struct{ rule, dn, want string }{
		{`{0}"^cn=([^,]+),o=lab$" "uid=$1,ou=people,dc=lab"`, "cn=alice,o=lab", "uid=alice,ou=people,dc=lab"},
		{`"^cn=([^,]+),o=Lab$" uid=$1`, "cn=alice,o=lab", "uid=alice"},
		{`{12}^cn=(.+),o=(.+)$ cn=$2,cn=$1,cn=$3`, "cn=a,o=b", "cn=b,cn=a,cn="},
		{`{0}"^cn=bob$" "uid=bob"`, "cn=alice", ""},
		{`{0}"^cn=(" "uid=bob"`, "cn=alice", ""},
		{`nonsense`, "cn=alice", ""},
	} {
		if got, ok := applyRule(row.rule, row.dn); got != row.want || ok != (row.want != "") {
			t.Errorf("%s of %s gives %q, %v; want %q", row.rule, row.dn, got, ok, row.want)
		}
	}
}

func TestComparable(t *testing.T) {
	if a, b := comparable("UID=Alice, OU=people,dc=lab"), comparable("uid=alice,ou=People,DC=lab"); a != b {
		t.Errorf("%q and %q are one DN", a, b)
	}
	if comparable("cn=a,o=b") == comparable("cn=a+o=b") || comparable("cn=a") == comparable("cn=b") {
		t.Error("two DNs compare alike")
	}
}

func FuzzApplyRule(f *testing.F) {
	f.Add(`{0}"^cn=([^,]+),o=lab$" "uid=$1,ou=people,dc=lab"`, "cn=alice,o=lab")
	f.Add(`"((((" "$9$8"`, "")
	f.Fuzz(func(t *testing.T, rule, dn string) {
		applyRule(rule, dn)
		comparable(dn)
	})
}
