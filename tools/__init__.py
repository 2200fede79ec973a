"""Programs that maintain the repository; nothing of the product imports them."""
