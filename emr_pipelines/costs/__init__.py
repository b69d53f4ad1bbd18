"""What clusters cost: bills, AWS's price lists, and the ledger."""
