// SPDX-License-Identifier: Apache-2.0

package entra

// The parts of EWS requests that are read. Names are matched without their
// namespaces, as their own do not overlap.

type ewsRequest struct {
	Header struct {
		Impersonation struct {
			ConnectingSID struct {
				PrincipalName      string `xml:"PrincipalName"`
				SID                string `xml:"SID"`
				PrimarySMTPAddress string `xml:"PrimarySmtpAddress"`
				SMTPAddress        string `xml:"SmtpAddress"`
			} `xml:"ConnectingSID"`
		} `xml:"ExchangeImpersonation"`
	} `xml:"Header"`
	Body struct {
		GetFolder *struct {
			Folders folderIDs `xml:"FolderIds"`
		} `xml:"GetFolder"`
		FindItem *struct {
			Shape   itemShape `xml:"ItemShape"`
			View    itemView  `xml:"IndexedPageItemView"`
			Folders folderIDs `xml:"ParentFolderIds"`
		} `xml:"FindItem"`
		GetItem *struct {
			Shape itemShape `xml:"ItemShape"`
			Items []itemID  `xml:"ItemIds>ItemId"`
		} `xml:"GetItem"`
		SyncFolderItems *struct {
			Shape     itemShape `xml:"ItemShape"`
			Folders   folderIDs `xml:"SyncFolderId"`
			SyncState string    `xml:"SyncState"`
			Most      int       `xml:"MaxChangesReturned"`
		} `xml:"SyncFolderItems"`
		ResolveNames *struct {
			Entry string `xml:"UnresolvedEntry"`
		} `xml:"ResolveNames"`
	} `xml:"Body"`
}

// folderIDs name folders, as everybody knows them or by what the server called them.
type folderIDs struct {
	Known []itemID `xml:"DistinguishedFolderId"`
	Given []itemID `xml:"FolderId"`
}

type itemID struct {
	ID        string `xml:"Id,attr"`
	ChangeKey string `xml:"ChangeKey,attr,omitempty"`
}

type itemShape struct {
	Base string `xml:"BaseShape"` // IdOnly, Default, AllProperties
}

type itemView struct {
	Most   int `xml:"MaxEntriesReturned,attr"`
	Offset int `xml:"Offset,attr"`
}
