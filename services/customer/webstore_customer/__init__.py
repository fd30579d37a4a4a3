"""WebStore's customers, and the e-mails that tell them of their orders."""
