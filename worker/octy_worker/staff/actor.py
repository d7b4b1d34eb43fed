"""The person who acts, as the operating system knows them."""

import os
import pwd


def login_name() -> str:
    """Return the name of the user who runs this, as the system knows it: LOGNAME and USER can be set to anything."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's number without a name
        return f"uid-{os.getuid()}"
