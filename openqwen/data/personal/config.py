"""Settings of the masking of personal data; off by default."""

from openqwen.core.config import Config, setting


class PersonalDataConfig(Config):
    """Which personal data is replaced, and by what; the report does not say that it was."""

    enabled: bool = setting(False, "replace personal data in documents and conversations")
    email: bool = setting(True, "e-mail addresses, but examples (RFC 2606) and senders of no one")
    phone: bool = setting(True, "telephone numbers: E.164, Chinese, North American, announced ones")
    chinese_id: bool = setting(True, "Chinese resident numbers with a right date and check digit")
    card: bool = setting(True, "payment cards in groups or announced, by issuer and Luhn digit")
    ssn: bool = setting(True, "US social security numbers as 123-45-6789, in ranges given out")
    iban: bool = setting(True, "bank accounts by country, length and check digits (ISO 13616)")
    ip: bool = setting(True, "public IP addresses; not networks, examples (RFC 5737), resolvers")
    email_text: str = setting("<email>", "what stands in an e-mail address's place", min_length=1)
    phone_text: str = setting("<phone>", "in a telephone number's", min_length=1)
    chinese_id_text: str = setting("<id>", "in a Chinese resident number's", min_length=1)
    card_text: str = setting("<card>", "in a payment card's", min_length=1)
    ssn_text: str = setting("<ssn>", "in a US social security number's", min_length=1)
    iban_text: str = setting("<iban>", "in a bank account's", min_length=1)
    ip_text: str = setting("<ip>", "in an IP address's", min_length=1)
