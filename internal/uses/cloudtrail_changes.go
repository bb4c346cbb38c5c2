// SPDX-License-Identifier: Apache-2.0

package uses

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/tallystick/tallystick"
)

// Changes in AWS CloudTrail: keys, certificates and passwords of IAM, trust
// anchors and profiles of Roles Anywhere, policies, and who may assume a role.

type cloudTrailChange struct {
	EventID, EventTime, EventSource, EventName flexText
	SourceIPAddress, UserAgent, ErrorCode      flexText
	RecipientAccountID, RequestID              flexText
	RequestParameters                          map[string]json.RawMessage
	ResponseElements                           map[string]json.RawMessage
	UserIdentity                               struct{ Type, ARN, UserName flexText }
}

// cloudTrailKinds says what a call changes; ChangeSetting is told without a rule.
func cloudTrailKind(source, name string) (kind tallystick.ChangeKind, ok bool) {
	switch source + "/" + name {
	case "iam.amazonaws.com/CreateAccessKey", "iam.amazonaws.com/UploadSigningCertificate", "iam.amazonaws.com/CreateLoginProfile",
		"iam.amazonaws.com/UploadSSHPublicKey", "iam.amazonaws.com/CreateServiceSpecificCredential":
		return tallystick.ChangeCredentialAdded, true
	case "iam.amazonaws.com/DeleteAccessKey", "iam.amazonaws.com/DeleteSigningCertificate", "iam.amazonaws.com/DeleteLoginProfile":
		return tallystick.ChangeCredentialRemoved, true
	case "iam.amazonaws.com/UpdateAccessKey", "iam.amazonaws.com/UpdateLoginProfile", "iam.amazonaws.com/UpdateSigningCertificate",
		"iam.amazonaws.com/ResetServiceSpecificCredential":
		return tallystick.ChangeCredentialAltered, true
	case "rolesanywhere.amazonaws.com/CreateTrustAnchor", "rolesanywhere.amazonaws.com/UpdateTrustAnchor", "rolesanywhere.amazonaws.com/EnableTrustAnchor",
		"rolesanywhere.amazonaws.com/CreateProfile", "rolesanywhere.amazonaws.com/UpdateProfile", "iam.amazonaws.com/UpdateAssumeRolePolicy",
		"iam.amazonaws.com/CreateSAMLProvider", "iam.amazonaws.com/UpdateSAMLProvider", "iam.amazonaws.com/CreateOpenIDConnectProvider",
		"iam.amazonaws.com/UpdateOpenIDConnectProviderThumbprint", "iam.amazonaws.com/AddClientIDToOpenIDConnectProvider":
		return tallystick.ChangeTrustAdded, true
	case "rolesanywhere.amazonaws.com/DeleteTrustAnchor", "rolesanywhere.amazonaws.com/DisableTrustAnchor", "iam.amazonaws.com/DeleteSAMLProvider", "iam.amazonaws.com/DeleteOpenIDConnectProvider":
		return tallystick.ChangeTrustRemoved, true
	case "iam.amazonaws.com/AttachUserPolicy", "iam.amazonaws.com/AttachRolePolicy", "iam.amazonaws.com/AttachGroupPolicy",
		"iam.amazonaws.com/PutUserPolicy", "iam.amazonaws.com/PutRolePolicy", "iam.amazonaws.com/PutGroupPolicy", "iam.amazonaws.com/AddUserToGroup":
		return tallystick.ChangeGrantAdded, true
	case "iam.amazonaws.com/DetachUserPolicy", "iam.amazonaws.com/DetachRolePolicy", "iam.amazonaws.com/DeleteUserPolicy", "iam.amazonaws.com/DeleteRolePolicy", "iam.amazonaws.com/RemoveUserFromGroup":
		return tallystick.ChangeGrantRemoved, true
	}
	return "", false
}

// readCloudTrailChange reads a call that changes who gets in.
func readCloudTrailChange(record string, kind tallystick.ChangeKind, sink Sink) error {
	if err := shallow(record); err != nil {
		return err
	}
	var r cloudTrailChange
	if json.Unmarshal([]byte(record), &r) != nil {
		return errors.New("expected a CloudTrail record, with objects for userIdentity and requestParameters")
	}
	at, err := readTime(string(r.EventTime))
	if err != nil {
		return err
	}
	c := &tallystick.Change{
		ID: string(r.EventID), Source: "cloudtrail", Time: at, Kind: kind, Failed: r.ErrorCode != "", Detail: string(r.ErrorCode),
		Actor: "account:" + strings.ToLower(string(r.UserIdentity.ARN)), ActorKind: awsActorKind(string(r.UserIdentity.Type)),
		Address: string(r.SourceIPAddress), Agent: string(r.UserAgent), Existing: -1, Operation: string(r.EventName), Correlation: string(r.RequestID),
	}
	r.target(c)
	r.credential(c)
	for _, name := range []string{"policyArn", "policyName", "groupName"} {
		if value := r.parameter(name); value != "" && (kind == tallystick.ChangeGrantAdded || kind == tallystick.ChangeGrantRemoved) {
			c.Grants = append(c.Grants, value[strings.LastIndexByte(value, '/')+1:])
			break
		}
	}
	if kind == tallystick.ChangeTrustAdded {
		c.After = cmp.Or(r.parameter("policyDocument"), r.parameter("source"), r.parameter("url"), r.parameter("roleArns"))
	}
	tell(sink, c)
	return nil
}

func awsActorKind(kind string) string {
	switch kind {
	case "AWSService", "AssumedRole", "WebIdentityUser":
		return "application"
	case "IAMUser", "Root", "IdentityCenterUser", "SAMLUser":
		return "user"
	}
	return ""
}

// parameter returns a parameter of the call, or the member of its answer.
func (r *cloudTrailChange) parameter(name string) string {
	for _, from := range []map[string]json.RawMessage{r.RequestParameters, r.ResponseElements} {
		var value flexText
		if raw, ok := from[name]; ok && json.Unmarshal(raw, &value) == nil && value != "" {
			return string(value)
		}
	}
	return ""
}

// target says whom the call is about.
func (r *cloudTrailChange) target(c *tallystick.Change) {
	account := string(r.RecipientAccountID)
	for _, by := range [...]struct{ parameter, kind string }{
		{"roleName", "aws-role"}, {"userName", "aws-user"}, {"groupName", "aws-group"}, {"trustAnchorId", "aws-trust-anchor"},
		{"profileId", "aws-profile"}, {"sAMLProviderArn", "aws-provider"}, {"openIDConnectProviderArn", "aws-provider"}, {"name", "aws-" + strings.ToLower(c.Operation)}, {"url", "aws-provider"},
	} {
		if value := r.parameter(by.parameter); value != "" {
			c.Target, c.TargetName = by.kind+":"+account+"/"+strings.ToLower(value), value
			return
		}
	}
	c.TargetName = cmp.Or(string(r.UserIdentity.UserName), account) // a call that names nobody is about its caller
	c.Target = "aws-user:" + account + "/" + strings.ToLower(c.TargetName)
}

// credential names what was made. Secrets are not in the record: AWS leaves them out.
func (r *cloudTrailChange) credential(c *tallystick.Change) {
	var key struct{ AccessKeyID, Status flexText }
	if raw, ok := r.ResponseElements["accessKey"]; ok && json.Unmarshal(raw, &key) == nil && key.AccessKeyID != "" {
		c.Credential = []string{tallystick.NormalName("aws-key:" + string(key.AccessKeyID))}
	} else if id := r.parameter("accessKeyId"); id != "" {
		c.Credential = []string{tallystick.NormalName("aws-key:" + id)}
		c.After = r.parameter("status")
	}
	if names := certificateNames(r.parameter("certificateBody")); names != nil {
		c.Credential = names
	}
}

// sortedKeys returns the keys of a map in their order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
